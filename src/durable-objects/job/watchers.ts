import { writeWatchFrame, type Preview } from '../../contract/events.ts';
import { isTerminal } from '../../contract/job.ts';
import { fitSnapshot } from '../../domain/job/event-size.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import { close, type JobSockets, send, sendFrame } from './sockets.ts';
import type { JobStore } from './store.ts';
import { viewOf } from './view.ts';

/**
 * What one job may send as previews in a second, in characters over all its watchers. Frames wait in the object's 128 MB until the
 * watchers' Workers have taken them (reference/cloudflare.md section 4); 1,000 watchers of previews of 64 KB would fill half of it at once.
 */
const PREVIEW_CHARS_PER_S = 16 * 1024 * 1024;

/** Who watches a job: each gets what was stored first, then what happens, with nothing between the two. */
export class Watchers {
  private readonly sockets: JobSockets;
  private readonly store: JobStore;
  /** The newest preview and whose it is. Only ever a courtesy: it is not stored, so it does not survive hibernation. */
  private lastPreview: { attempt: number; preview: Preview } | null = null;
  private lastSnapshot: { state: JobState; text: string } | null = null;
  /** Before this time previews are not passed on: earlier ones have used up what may be sent. */
  private previewsFrom = 0;
  /** How many may come before they are counted again; some of them may have left meanwhile. */
  private room = 0;

  constructor(sockets: JobSockets, store: JobStore) {
    this.sockets = sockets;
    this.store = store;
  }

  /**
   * A socket that begins after event `after`, or with a snapshot. 204: the job is over and this watcher has all of it. 400: it says
   * it has an event that has not happened. 404: it is somebody else's job. 429: `most` watch already.
   */
  open(state: JobState, account: string | null, after: string | null, most: number): Response {
    if (state.account !== account) {
      return new Response(null, { status: 404 });
    }
    const over = isTerminal(state.status);
    const seen = after === null ? -1 : Number(after);
    if (over && seen >= state.last_event) {
      return new Response(null, { status: 204 });
    }
    if (seen > state.last_event) {
      return new Response(null, { status: 400 });
    }
    if (!over && this.isFull(most)) {
      return new Response(null, { status: 429 });
    }
    // From here to the end nothing awaits: no event can come in between.
    const { client, server } = this.sockets.accept({ kind: 'watch' });
    if (after === null) {
      send(server, this.snapshotOf(state));
    } else {
      for (const event of this.store.eventsAfter(seen)) {
        sendFrame(server, event);
      }
    }
    if (over) {
      close(server, 1000, 'over');
    } else if (this.lastPreview !== null && this.lastPreview.attempt === currentAttempt(state)?.number) {
      sendFrame(server, { event: 'preview', data: this.lastPreview.preview });
    }
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Shows a preview, if the attempt it is of counts and it is not too much for all who watch. */
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

  /** Written once for all who come before anything changes: a turn of the machine makes a new state. */
  private snapshotOf(state: JobState): string {
    if (this.lastSnapshot?.state !== state) {
      const frame = { event: 'snapshot', id: state.last_event, data: fitSnapshot(viewOf(state)) } as const;
      this.lastSnapshot = { state, text: writeWatchFrame(frame) };
    }
    return this.lastSnapshot.text;
  }

  /** Counts only when it may be: a thousand that come at once are not each counted by all that follow. */
  private isFull(most: number): boolean {
    if (this.room === 0) {
      this.room = Math.max(0, most - this.sockets.watchers());
    }
    if (this.room === 0) {
      return true;
    }
    this.room -= 1;
    return false;
  }
}
