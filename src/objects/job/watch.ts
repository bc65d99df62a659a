import type { Preview } from '../../contract/events.ts';
import { isTerminal } from '../../contract/job.ts';
import { currentAttempt, type JobState } from '../../core/job/state.ts';
import { close, type JobSockets, sendFrame } from './sockets.ts';
import type { JobStore } from './store.ts';
import { viewOf } from './view.ts';

/** Who watches a job: each gets what was stored first, then what happens, with nothing between the two. */
export class Watchers {
  private readonly sockets: JobSockets;
  private readonly store: JobStore;
  /** The newest preview and whose it is. Only ever a courtesy: it is not stored, so it does not survive hibernation. */
  private lastPreview: { attempt: number; preview: Preview } | null = null;

  constructor(sockets: JobSockets, store: JobStore) {
    this.sockets = sockets;
    this.store = store;
  }

  /**
   * A socket that begins after event `after`, or with a snapshot. 204: the job is over and this watcher has all of it. 400: it says
   * it has an event that has not happened. 404: it is somebody else's job.
   */
  open(state: JobState, account: string | null, after: string | null): Response {
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
    // From here to the end nothing awaits: no event can come in between.
    const { client, server } = this.sockets.accept({ kind: 'watch' });
    if (after === null) {
      sendFrame(server, { event: 'snapshot', id: state.last_event, data: viewOf(state) });
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

  /** Shows a preview, if the attempt it is of counts. */
  preview(state: JobState, attempt: number, preview: Preview): void {
    if (currentAttempt(state)?.number === attempt) {
      this.lastPreview = { attempt, preview };
      this.sockets.broadcast([{ event: 'preview', data: preview }]);
    }
  }
}
