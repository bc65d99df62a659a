import { z } from 'zod';
import { JOB_ERROR_CODES, type ErrorSource, type JobErrorCode } from './errors.ts';
import { mediaType } from './media-type.ts';

/**
 * The words of a job, as every part and every protocol uses them.
 * Status and most field names follow Comfy API v2 (docs/reference/api.md).
 */

export const STATUSES = ['queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled', 'expired'] as const;
export type Status = (typeof STATUSES)[number];

export const TERMINAL_STATUSES = ['succeeded', 'failed', 'canceled', 'expired'] as const satisfies readonly Status[];
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number];

/** A terminal status is final: no later event changes it. */
export const isTerminal = (status: Status): status is TerminalStatus =>
  (TERMINAL_STATUSES as readonly Status[]).includes(status);

/**
 * Which status may follow which; every job begins `queued`. Held by a model test over random stories
 * (domain/job/transitions.test.ts) and published in docs/reference/api.md. `running` goes back to `queued` when another
 * attempt is made.
 */
export const NEXT_STATUSES = {
  queued: ['running', 'failed', 'canceled', 'expired'],
  running: ['queued', 'canceling', 'succeeded', 'failed'],
  canceling: ['succeeded', 'failed', 'canceled'],
  succeeded: [],
  failed: [],
  canceled: [],
  expired: [],
} as const satisfies Record<Status, readonly Status[]>;

/** What a job that is not terminal waits for or does. */
export const STAGES = ['admission', 'capacity', 'cold_start', 'models', 'inputs', 'executing', 'uploading'] as const;
export type Stage = (typeof STAGES)[number];

/** A worker's code that is not in the table becomes `internal`. */
export const jobErrorCode = z.enum(JOB_ERROR_CODES).catch('internal');

/** Why a job, or one attempt of it, failed. `message` is for people and holds no stack trace, path or host name. */
export type JobError = {
  code: JobErrorCode;
  message: string;
  at: ErrorSource;
  retryable: boolean;
  attempt: number;
  /** RunPod's id of the run of that attempt, where there was one: what its support asks for. */
  upstream_id?: string;
  node?: { id: string; class_type: string };
  details?: Record<string, unknown>;
};

export const OUTPUT_TYPES = ['image', 'video', 'audio', 'text', '3d', 'latent', 'file'] as const;

/** Longest name of an output in bytes of UTF-8: what a file system takes for one name, and R2's keys bear encoded. */
export const MAX_OUTPUT_NAME_BYTES = 255;

/**
 * Characters that end a line or change the order of the others on a screen, so that a name reads as another one. Names
 * from outside that the gateway or a worker may replace do not contain them; an older worker's may
 * (docs/reference/worker-contract.md).
 */
export const LINE_AND_ORDER_CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

const utf8Length = (text: string): number => new TextEncoder().encode(text).byteLength;

/** A relative path with forward slashes: no empty, `.` or `..` segment, no backslash or control character. */
export const outputName = z.string().refine(
  (name) =>
    name.isWellFormed() &&
    utf8Length(name) <= MAX_OUTPUT_NAME_BYTES &&
    // oxlint-disable-next-line no-control-regex -- the pattern looks for control characters
    !/[\u0000-\u001f\u007f\\]/.test(name) &&
    name.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..'),
  'is not the name of an output',
);

/** A result of a job. `key` is its place in R2 (null: `text` holds all of it). Sizes in bytes, hash lower-case hex. */
export const output = z.object({
  name: outputName,
  node_id: z.string(),
  class_type: z.string().default(''),
  type: z.enum(OUTPUT_TYPES).catch('file'),
  content_type: mediaType,
  size_bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  key: z.string().nullable(),
  text: z.string().optional(),
  temp: z.boolean().default(false),
});
export type Output = z.infer<typeof output>;

/** How far a graph is: `value` runs from 0 to 1 over all its nodes and never falls within an attempt. */
export const progress = z.object({
  value: z.number().min(0).max(1),
  nodes_done: z.int().nonnegative(),
  nodes_total: z.int().nonnegative(),
  current_node: z.string().nullish(),
  current_node_class: z.string().nullish(),
  step: z.number().nullish(),
  steps: z.number().nullish(),
});
export type Progress = z.infer<typeof progress>;

/**
 * A seed that the gateway set. `random`: drawn by it. Beyond 2^53 it is a text of digits, which every client can hold.
 */
export type ResolvedSeed = { node: string; input: string; value: number | string; random: boolean };
/** Where an override was put. */
export type ResolvedOverride = { field: string; node: string; input: string };
/** A value that was over an endpoint's limit and was lowered. */
export type Clamped = { node: string; input: string; from: number; to: number; limit: string };

export const WARNING_CODES = ['dangling_link', 'no_output_node', 'only_previews', 'input_missing'] as const;
/**
 * What is odd about a graph that may run all the same. `node` and `input` say where, null where it is about the whole.
 */
export type Warning = {
  code: (typeof WARNING_CODES)[number];
  node: string | null;
  input: string | null;
  detail: string;
};

/** What the gateway decided on the way from the request to the graph that runs. Holds no prompt. */
export type Resolved = {
  seeds: ResolvedSeed[];
  overrides: ResolvedOverride[];
  clamped: Clamped[];
  /** Missing in jobs of an older gateway. */
  warnings?: Warning[];
};

/** One try on a GPU, as clients see it. `status` is `waiting` until a worker claims it. */
export type AttemptView = {
  number: number;
  /** Name of the endpoint it runs on: the job's own or a fallback of it. */
  endpoint: string;
  status: 'waiting' | 'running' | 'succeeded' | 'failed' | 'canceled' | 'lost' | 'superseded';
  created_at: number;
  claimed_at: number | null;
  ended_at: number | null;
  worker: string | null;
  environment: Environment | null;
  /** RunPod's id of its run; null until RunPod has taken it. */
  upstream_id: string | null;
  error: JobError | null;
};

/**
 * What an attempt ran with, as its worker said; null before a worker has it. `nodes`: hash of the list of custom nodes
 * and their commits. `models` (those of the manifest that the graph names) and free bytes come with the worker's
 * report, and are null until then.
 */
export type Environment = {
  worker_version: string;
  comfyui_version: string | null;
  gpu: string | null;
  image: string | null;
  nodes: string | null;
  models: { path: string; sha256: string }[] | null;
  memory_free_bytes: number | null;
  disk_free_bytes: number | null;
};

/**
 * A job as services return it: times in ms since the epoch, no URLs. Routes render it in the form of their protocol.
 */
export type JobView = {
  id: string;
  account: string;
  /** Id of the API key that submitted it. */
  key: string;
  endpoint: string;
  status: Status;
  stage: Stage | null;
  created_at: number;
  started_at: number | null;
  completed_at: number | null;
  deadline: number;
  /** When it expires unless a worker has claimed it; null: the deadline alone counts. */
  start_deadline: number | null;
  expires_at: number;
  /** Its position in the account's queue, from 1. Null where it does not wait there, or the position is unknown. */
  queue_position: number | null;
  progress: Progress | null;
  outputs: Output[];
  error: JobError | null;
  attempts: AttemptView[];
  metadata: Record<string, string>;
  resolved: Resolved;
  /** Its cost; null until it has finished. `cost_usd` is null where the endpoint has no price. */
  usage: { billed_seconds: number; cost_usd: number | null } | null;
  /** Durations in ms; null where they are unknown (docs/reference/api.md). */
  metrics: {
    queue_ms: number | null;
    cold_start_ms: number | null;
    execution_ms: number | null;
    upload_ms: number | null;
    total_ms: number | null;
  };
  /** Number of the last event in the log that this view includes. */
  last_event: number;
  /**
   * What is not all there: in a snapshot that had no room for it (domain/job/event-size.ts), or for who may not read it
   * (services/jobs/redact-job.ts).
   */
  truncated?: string[];
};
