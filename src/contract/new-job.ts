import type { Resolved } from './job.ts';
import type { WorkerKind } from './run.ts';

/** What the core hands to `Job.create`: everything a run needs, already checked and shaped. Times in ms since the epoch. */
export type NewJob = {
  /** Lower-case UUID (version 7, so ids sort by creation). */
  id: string;
  account: string;
  /** Id of the API key that submitted it. */
  key: string;
  /** Name of the endpoint in the configuration. */
  endpoint: string;
  /** What runs on that endpoint, and on its fallbacks. */
  worker: WorkerKind;
  /** The graph as JSON text, ready for the worker: text passes RPC, storage and 64-bit seeds unharmed (docs/decisions/0012). */
  workflow: string;
  inputs: JobInput[];
  options: JobOptions;
  metadata: Record<string, string>;
  resolved: Resolved;
  /** When the request was there, its key checked and its body read. */
  received_at?: number;
  created_at: number;
  deadline: number;
  /** When it expires unless a worker has claimed it by then; null: the deadline alone counts. */
  start_deadline: number | null;
  /** How long it is kept once it is over; as long as the policy says where nothing is given. */
  retention_ms?: number;
  /** US dollars; null where the endpoint has no price. */
  price_per_second: number | null;
  /** Where it may run instead, in this order, while its own endpoint takes nothing. */
  fallbacks: FallbackEndpoint[];
  /** The account has no place for it yet: it begins when the account says so. */
  waits: boolean;
  /** Its place in the account's line when it was put there, from 1; null: not in line, or not known. */
  queue_position: number | null;
};

/** Another endpoint that the job's key may use and that lets its graph run. `price_per_second` as for the job's own. */
export type FallbackEndpoint = { endpoint: string; price_per_second: number | null };

/** A ComfyUI graph in API format: node id → node. A link is `[node id, output index]`. Large integers are `bigint`. */
export type Graph = Record<string, { class_type: string; inputs: Record<string, unknown>; _meta?: unknown }>;

/** A file under the name the graph calls it by: an asset, or what `key` names in R2 (an output of another job of the account). */
export type JobInput = { name: string; sha256: string; size_bytes: number; content_type: string; key?: string };

export type JobOptions = {
  /** Send previews while the graph runs. */
  previews: boolean;
  /** Keep what preview nodes write to ComfyUI's temp folder as outputs too. */
  temp_outputs: boolean;
  /** Leave the graph that ComfyUI writes into files in them. */
  metadata: boolean;
};
