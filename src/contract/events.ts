import type { JobError, JobView, Output, Progress, Stage, Status } from './job.ts';

/** What an entry of a job's log says. Numbered from 1, ordered, replayable (docs/reference/events.md). */
export type EventBody =
  | { event: 'status'; data: { status: Status; stage: Stage | null; attempt: number; error?: JobError; at: string } }
  | { event: 'progress'; data: Progress & { nodes?: Record<string, unknown> } }
  | { event: 'output'; data: Output }
  | { event: 'log'; data: { level: 'info' | 'warn' | 'error'; message: string; at: string } };

export type LogEvent = EventBody & { id: number };

/** A picture of work in progress: shown live, never stored in the log, so it carries no number. */
export type Preview = { node_id: string; content_type: string; data_base64: string };

/** What is shown to whoever watches at the time and not kept, so it carries no number: previews, and progress between two entries of the log. */
export type LiveEvent = { event: 'preview'; data: Preview } | Extract<EventBody, { event: 'progress' }>;

/** What the Job object sends a watcher over its WebSocket, one JSON text frame each. */
export type WatchFrame = LogEvent | { event: 'snapshot'; id: number; data: JobView } | LiveEvent;

/** A frame as text: JSON with the data last, so that who passes it on need not read the data. */
export function writeWatchFrame(frame: WatchFrame): string {
  const kind = 'id' in frame ? `"id":${frame.id}` : '"live":true';
  return `{"event":"${frame.event}",${kind},"data":${JSON.stringify(frame.data)}}`;
}

/** A frame's head, and its data as the text it came in. `frame()` reads all of it. */
export type FrameText = { event: WatchFrame['event']; id: number | null; data: string; frame: () => WatchFrame };

/** Where the data begins in what `writeFrame` wrote. */
const HEAD = /^\{"event":"([a-z]+)","(?:id":(\d+)|live":true),"data":/;

/** Reads what `writeFrame` wrote, here or in a gateway from before it, which had the number last; nobody else writes frames. */
export function readWatchFrame(text: string): FrameText {
  const frame = (): WatchFrame => {
    const { live: _live, ...written } = JSON.parse(text) as WatchFrame & { live?: true };
    return written;
  };
  const head = HEAD.exec(text);
  if (head === null) {
    const { event, data, ...rest } = frame();
    return { event, id: 'id' in rest ? rest.id : null, data: JSON.stringify(data), frame };
  }
  const [start, event, id] = head;
  return {
    event: event as WatchFrame['event'],
    id: id === undefined ? null : Number(id),
    data: text.slice(start.length, -1),
    frame,
  };
}
