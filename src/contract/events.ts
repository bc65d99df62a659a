import type { JobError, JobView, Output, Progress, Stage, Status } from './job.ts';

/** What an entry of a job's log says. Numbered from 1, ordered, replayable (docs/api.md, Events). */
export type EventBody =
  | { event: 'status'; data: { status: Status; stage: Stage | null; attempt: number; error?: JobError; at: string } }
  | { event: 'progress'; data: Progress & { nodes?: Record<string, unknown> } }
  | { event: 'output'; data: Output }
  | { event: 'log'; data: { level: 'info' | 'warn' | 'error'; message: string; at: string } };

export type LogEvent = EventBody & { id: number };

/** A picture of work in progress: shown live, never stored in the log, so it carries no number. */
export type Preview = { node_id: string; content_type: string; data_base64: string };

/** What the Job object sends a watcher over its WebSocket, one JSON text frame each. */
export type WatchFrame =
  | LogEvent
  | { event: 'snapshot'; id: number; data: JobView }
  | { event: 'preview'; data: Preview };
