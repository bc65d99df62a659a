import type { JobError, JobView, Output, Progress, Stage, Status } from './job.ts';

/** An entry of a job's log: numbered from 1, ordered, replayable (docs/reference/events.md). */
export type EventBody =
  | { event: 'status'; data: { status: Status; stage: Stage | null; attempt: number; error?: JobError; at: string } }
  | { event: 'progress'; data: Progress & { nodes?: Record<string, unknown> } }
  | { event: 'output'; data: Output }
  | { event: 'log'; data: { level: 'info' | 'warn' | 'error'; message: string; at: string } };

export type LogEvent = EventBody & { id: number };

/** A preview of a running node. It is sent live and not stored, so it does not have a number. */
export type Preview = { node_id: string; content_type: string; data_base64: string };

/**
 * An event that is sent live and not stored, so it does not have a number: a preview, or progress between two log
 * entries.
 */
export type LiveEvent = { event: 'preview'; data: Preview } | Extract<EventBody, { event: 'progress' }>;

/** A message of the Job object to a watcher: one JSON text frame of its WebSocket. */
export type WatchFrame = LogEvent | { event: 'snapshot'; id: number; data: JobView } | LiveEvent;

/** A frame as text: JSON with the data last, so that a relay need not parse the data. */
export function writeWatchFrame(frame: WatchFrame): string {
  const kind = 'id' in frame ? `"id":${frame.id}` : '"live":true';
  return `{"event":"${frame.event}",${kind},"data":${JSON.stringify(frame.data)}}`;
}

/** A frame's head, and its data as text. `frame()` parses all of it. */
export type FrameText = { event: WatchFrame['event']; id: number | null; data: string; frame: () => WatchFrame };

/** Everything before the data in a text of `writeWatchFrame`. */
const HEAD = /^\{"event":"([a-z]+)","(?:id":(\d+)|live":true),"data":/;

/** Parses a text of `writeWatchFrame`, also of an older gateway, which wrote the number last. */
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
