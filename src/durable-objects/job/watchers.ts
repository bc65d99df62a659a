import { writeWatchFrame, type Preview } from '../../contract/events.ts';
import { isTerminal } from '../../contract/job.ts';
import { fitSnapshot } from '../../domain/job/event-size.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import { close, type JobSockets, send, sendFrame } from './sockets.ts';
import type { JobStore } from './store.ts';
import { viewOf } from './view.ts';

/**
 * The most characters of previews that one job sends per second, over all its watchers. Frames are in the object's 128
 * MB until the watchers' Workers have read them (reference/cloudflare.md section 4), and previews of 64 KB to 1,000
 * watchers would fill half of it.
 */
const PREVIEW_CHARS_PER_S = 16 * 1024 * 1024;

/** The watchers of a job. Each gets the stored events first and then the new ones, without a gap. */
export class Watchers {
  private readonly sockets: JobSockets;
  private readonly store: JobStore;
  /** The newest preview and its attempt. Not stored, so hibernation loses it. */
  private lastPreview: { attempt: number; preview: Preview } | null = null;
  private lastSnapshot: { state: JobState; text: string } | null = null;
  /** Previews before this time are dropped, because earlier ones used up the budget. */
  private previewsFrom = 0;
  /** How many watchers may still be accepted before they are counted again. */
  private room = 0;

  constructor(sockets: JobSockets, store: JobStore) {
    this.sockets = sockets;
    this.store = store;
  }

  /**
   * Opens a socket that begins after event `after`, or with a snapshot. 204: the job has finished and this watcher has
   * all events. 400: `after` is not an event of the job. 404: the job is another account's. 429: the job has `max`
   * watchers.
   */
  open(state: JobState, account: string | null, after: string | null, max: number): Response {
    if (state.account !== account) {
      return new Response(null, { status: 404 });
    }
    const finished = isTerminal(state.status);
    const seen = after === null ? -1 : Number(after);
    if (finished && seen >= state.last_event) {
      return new Response(null, { status: 204 });
    }
    if (seen > state.last_event) {
      return new Response(null, { status: 400 });
    }
    if (!finished && this.isFull(max)) {
      return new Response(null, { status: 429 });
    }
    // No await from here to the end, so no event can come in between.
    const { client, server } = this.sockets.accept({ kind: 'watch' });
    if (after === null) {
      send(server, this.snapshotOf(state));
    } else {
      for (const event of this.store.eventsAfter(seen)) {
        sendFrame(server, event);
      }
    }
    if (finished) {
      close(server, 1000, 'over');
    } else if (this.lastPreview !== null && this.lastPreview.attempt === currentAttempt(state)?.number) {
      sendFrame(server, { event: 'preview', data: this.lastPreview.preview });
    }
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Sends a preview of the current attempt to the watchers, within the budget. */
  preview(state: JobState, attempt: number, preview: Preview, now: number): void {
    if (currentAttempt(state)?.number !== attempt) {
      return;
    }
    this.lastPreview = { attempt, preview };
    if (now >= this.previewsFrom) {
      const sent = this.sockets.broadcast([{ event: 'preview', data: preview }]) * preview.data_base64.length;
      this.previewsFrom = now + (sent / PREVIEW_CHARS_PER_S) * 1000;
    }
  }

  /** The snapshot of a state, written once for all watchers that join before the next transition. */
  private snapshotOf(state: JobState): string {
    if (this.lastSnapshot?.state !== state) {
      const frame = { event: 'snapshot', id: state.last_event, data: fitSnapshot(viewOf(state)) } as const;
      this.lastSnapshot = { state, text: writeWatchFrame(frame) };
    }
    return this.lastSnapshot.text;
  }

  /**
   * Counts the watchers only when the last count leaves no room, so that a thousand that join at once are counted once.
   */
  private isFull(max: number): boolean {
    if (this.room === 0) {
      this.room = Math.max(0, max - this.sockets.watchers());
    }
    if (this.room === 0) {
      return true;
    }
    this.room -= 1;
    return false;
  }
}
