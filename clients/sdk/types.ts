import { type Shaped, anything, either, flag, list, nullable, number, object, oneOf, record, text } from './shape.ts';

/** The status of a job; the last four are final. */
export const status = oneOf('queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled', 'expired');
export type Status = Shaped<typeof status>;

const FINAL: ReadonlySet<Status> = new Set<Status>(['succeeded', 'failed', 'canceled', 'expired']);

/** True when no later event changes the status. */
export function isFinal(value: Status): boolean {
  return FINAL.has(value);
}

export const jobError = object(
  { code: text, message: text, at: text, retryable: flag, attempt: number },
  { upstream_id: text, node: object({ id: text, class_type: text }, {}), details: record(anything) },
);
/** Why a job or an attempt failed; `code` is one of the documented codes. */
export type JobError = Shaped<typeof jobError>;

const progressFields = { value: number, nodes_done: number, nodes_total: number };
const progressDetails = {
  current_node: nullable(text),
  current_node_class: nullable(text),
  step: nullable(number),
  steps: nullable(number),
};
export const progress = object(progressFields, progressDetails);
/** How far the graph is: `value` from 0 to 1 over all nodes, never falling within an attempt. */
export type Progress = Shaped<typeof progress>;

/** What one node does: `value` of `max` steps. */
export const nodeProgress = object({ state: text }, { value: number, max: number, class_type: nullable(text) });
export type NodeProgress = Shaped<typeof nodeProgress>;

export const output = object(
  { name: text, node_id: text, type: text, content_type: text, size_bytes: number, sha256: text, url: text },
  { text, signed_url: nullable(text), url_expires_at: nullable(text) },
);
/**
 * A result file or text. `size_bytes` is bytes, `sha256` lower-case hex. `url` is stable and needs the key; `signed_url`, in answers of
 * `get`, goes straight to storage, needs none, and works until `url_expires_at`.
 */
export type Output = Shaped<typeof output>;

const environment = object(
  {
    worker_version: text,
    comfyui_version: nullable(text),
    image: nullable(text),
    nodes: nullable(text),
    gpu: nullable(text),
  },
  {
    models: nullable(list(object({ path: text, sha256: text }, {}))),
    memory_free_bytes: nullable(number),
    disk_free_bytes: nullable(number),
  },
);
/** What an attempt ran with. `models`: those of the manifest that the graph names; they and the free bytes come at its end. */
export type Environment = Shaped<typeof environment>;

const attempt = object(
  {
    number,
    status: text,
    created_at: text,
    claimed_at: nullable(text),
    ended_at: nullable(text),
    worker: nullable(text),
    error: nullable(jobError),
  },
  { endpoint: text, environment: nullable(environment), upstream_id: nullable(text) },
);
/** One try of the job on a GPU. `upstream_id`: RunPod's id of its run. `endpoint`: where; a fallback of the job's own while that takes nothing. */
export type Attempt = Shaped<typeof attempt>;

const urls = object({ self: text, events: text, cancel: text }, { result: text });

const summaryFields = {
  id: text,
  status,
  endpoint: text,
  created_at: text,
  started_at: nullable(text),
  completed_at: nullable(text),
  error: nullable(jobError),
  metadata: record(text),
  urls,
};
export const jobSummary = object(summaryFields, {});
/** A job as lists show it. */
export type JobSummary = Shaped<typeof jobSummary>;

export const job = object(
  {
    ...summaryFields,
    stage: nullable(text),
    deadline: text,
    expires_at: text,
    progress: nullable(progress),
    outputs: list(output),
    attempts: list(attempt),
    metrics: object(
      {
        queue_ms: nullable(number),
        execution_ms: nullable(number),
        upload_ms: nullable(number),
        total_ms: nullable(number),
      },
      { cold_start_ms: nullable(number) },
    ),
    last_event: number,
  },
  { start_deadline: nullable(text), queue_position: nullable(number), truncated: list(text) },
);
/** One run of one workflow. Times are ISO 8601 UTC, `metrics` milliseconds. */
export type Job = Shaped<typeof job>;

export const jobResult = object(
  { object: oneOf('job_result'), id: text, status: oneOf('succeeded'), outputs: list(output), metadata: record(text) },
  { completed_at: nullable(text) },
);
/** What came out of a job that succeeded. */
export type JobResult = Shaped<typeof jobResult>;

const jobPending = object({ object: oneOf('job_pending'), id: text, status }, { stage: nullable(text) });
export const resultAnswer = either(jobResult, jobPending);

const refusal = object(
  { code: text, title: text, detail: text, request_id: text },
  { errors: list(object({ pointer: text, code: text, detail: text }, {})) },
);
const batchItem = either(
  object({ status: number, replayed: flag, job }, {}),
  object({ status: number, problem: refusal, retry_after: nullable(number) }, {}),
);
/** What became of one job of a batch: it was accepted, or `problem` says why not. */
export type BatchItem = Shaped<typeof batchItem>;

export const batch = object({ accepted: number, refused: number, data: list(batchItem) }, {});
/** What became of each job of a batch, in their order. */
export type Batch = Shaped<typeof batch>;

export const jobPage = object({ data: list(jobSummary), has_more: flag, next_cursor: nullable(text) }, {});
/** Jobs, newest first; `next_cursor` asks for the ones after them. */
export type JobPage = Shaped<typeof jobPage>;

export const asset = object(
  { id: text, size_bytes: number, content_type: text, sha256: text, created_at: text },
  { expires_at: text },
);
/** An input file, addressed by its content: uploading the same bytes again answers the same asset. */
export type Asset = Shaped<typeof asset>;

export const assetPage = object({ data: list(asset), has_more: flag, next_cursor: nullable(text) }, {});
/** Assets, newest first; `next_cursor` asks for the ones after them. */
export type AssetPage = Shaped<typeof assetPage>;

const uploadPart = object({ number, offset: number, size_bytes: number, url: text }, {});
export type UploadPart = Shaped<typeof uploadPart>;

export const upload = object(
  {
    id: text,
    status: text,
    received_bytes: number,
    missing_parts: number,
    missing: list(uploadPart),
    asset: nullable(asset),
  },
  {},
);
/** A file on its way in; `missing` are the parts to send next. */
export type Upload = Shaped<typeof upload>;

export const eventData = {
  snapshot: job,
  status: object({ status, stage: nullable(text), attempt: number, at: text }, { error: nullable(jobError) }),
  progress: object(progressFields, { ...progressDetails, nodes: record(nodeProgress) }),
  output,
  log: object({ level: text, message: text, at: text }, {}),
  preview: object({ node_id: text, content_type: text, data_base64: text }, {}),
};
type EventData = { [K in keyof typeof eventData]: Shaped<(typeof eventData)[K]> };

/** What `jobs.watch` yields. `id` numbers the entries of the job's log. A preview is live only and has none; nor has progress between two entries of the log. */
export type JobEvent =
  | { event: 'snapshot'; id: number; data: EventData['snapshot'] }
  | { event: 'status'; id: number; data: EventData['status'] }
  | { event: 'progress'; id?: number; data: EventData['progress'] }
  | { event: 'output'; id: number; data: EventData['output'] }
  | { event: 'log'; id: number; data: EventData['log'] }
  | { event: 'preview'; data: EventData['preview'] };

/**
 * A file of a job: an uploaded asset, base64 (or a data URL) in the request itself, a public https URL, or another job's output
 * (`job:{id}/outputs/{name}`). `name` is what the graph calls it.
 */
export type JobInput =
  | { name: string; asset: string }
  | { name: string; data: string }
  | { name: string; url: string }
  | { name: string; output: string };

/** A job to run. */
export interface NewJob {
  /** ComfyUI graph in API format. */
  workflow: Record<string, unknown>;
  inputs?: JobInput[];
  /** Name of an endpoint of the gateway; its `default` when left out. */
  endpoint?: string;
  metadata?: Record<string, string>;
  options?: {
    previews?: boolean;
    temp_outputs?: boolean;
    /** `false`: outputs without the graph that ComfyUI writes into them. */
    metadata?: boolean;
  };
  /** Seconds after which the job expires. */
  finish_within?: number;
  /** Seconds in which a worker must have begun, else the job expires; none when left out. */
  start_within?: number;
  /** Seconds the finished job is kept; no longer than the account keeps its jobs. */
  retention?: number;
}
