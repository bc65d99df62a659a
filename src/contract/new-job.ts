import type { Resolved } from './job.ts';
import type { WorkerKind } from './run.ts';

/** The argument of `Job.create`: everything that a run needs, validated and shaped. Times are ms since the epoch. */
export type NewJob = {
  /** Lower-case UUID (version 7, so ids sort by creation). */
  id: string;
  account: string;
  /** Id of the API key that submitted it. */
  key: string;
  /** Name of the endpoint in the configuration. */
  endpoint: string;
  /** The kind of worker on that endpoint and on its fallbacks. */
  worker: WorkerKind;
  /**
   * The graph as JSON text, ready for the worker. As text it keeps 64-bit seeds through RPC and storage
   * (docs/decisions/0012).
   */
  workflow: string;
  inputs: JobInput[];
  options: JobOptions;
  metadata: Record<string, string>;
  resolved: Resolved;
  /** When the request was complete, with its key checked and its body read. */
  received_at?: number;
  created_at: number;
  deadline: number;
  /** When it expires unless a worker has claimed it; null where only the deadline counts. */
  start_deadline: number | null;
  /** How long the finished job is kept; the policy's retention where it is missing. */
  retention_ms?: number;
  /** US dollars; null where the endpoint has no price. */
  price_per_second: number | null;
  /** The endpoints to use, in this order, while its own endpoint accepts no runs. */
  fallbacks: FallbackEndpoint[];
  /** The account has no slot for it yet. It starts when the account admits it. */
  waits: boolean;
  /**
   * Its position in the account's queue at admission, from 1; null where it does not wait or the position is unknown.
   */
  queue_position: number | null;
};

/** Another endpoint that the job's key may use and that lets its graph run. `price_per_second` as for the job's own. */
export type FallbackEndpoint = { endpoint: string; price_per_second: number | null };

/** A ComfyUI graph in API format: node id → node. A link is `[node id, output index]`. Large integers are `bigint`. */
export type Graph = Record<string, { class_type: string; inputs: Record<string, unknown>; _meta?: unknown }>;

/**
 * A file with the name that the graph uses: an asset, or the object `key` in R2 (an output of another job of the
 * account).
 */
export type JobInput = { name: string; sha256: string; size_bytes: number; content_type: string; key?: string };

export type JobOptions = {
  /** Send previews while the graph runs. */
  previews: boolean;
  /** Keep the files that preview nodes write to ComfyUI's temp folder as outputs too. */
  temp_outputs: boolean;
  /** Leave the graph that ComfyUI writes into files in them. */
  metadata: boolean;
};
