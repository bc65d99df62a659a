import type { Health } from '../../contract/endpoint.ts';
import type { JobErrorCode } from '../../contract/job.ts';
import type { RunRecord, RunStatus } from '../../contract/run.ts';
import type { JsonPath, TextSink } from '../json-stream.ts';

/** Somewhere that runs jobs on GPUs: RunPod today. Calls answer with values; they do not throw for what the network does. */
export type GpuProvider = {
  /** Starts a run. Never repeated by this layer: the caller decides what an unknown outcome means. */
  run(order: RunOrder): Promise<RunAnswer>;
  /** What the provider says of a run. */
  status(endpoint: string, runId: string): Promise<RunStatus>;
  /**
   * All that the provider says of a run, its output included.
   * @param take asked at the beginning of every text in it: one that is wanted is handed on piece by piece as it arrives, and what
   *   comes of it stands in its place. What a sink rejects with, this rejects with.
   */
  read(
    endpoint: string,
    runId: string,
    take: (path: JsonPath) => TextSink | null,
  ): Promise<RunRecord | 'missing' | 'unreachable'>;
  /** Cancels a run, queued or running. `done` also when it is over or unknown there. */
  cancel(endpoint: string, runId: string): Promise<'done' | 'again'>;
  /** What the provider says of an endpoint's workers and queue. */
  health(endpoint: string): Promise<HealthAnswer>;
};

/** Times in ms. */
export type RunOrder = {
  endpoint: string;
  /** What the worker gets as its input: one JSON object as text, in pieces, so that large ones are not copied together first. */
  input: readonly string[];
  /** Where the provider says that the run is over; null: nowhere. */
  webhook: string | null;
  execution_timeout_ms: number;
  ttl_ms: number;
};

export type RunAnswer =
  | { kind: 'accepted'; run_id: string }
  /** Surely not taken. `again`: a later try may succeed. `about`: what was refused: this run, or every run of this endpoint or account. */
  | {
      kind: 'refused';
      again: boolean;
      about: 'run' | 'endpoint';
      code: JobErrorCode;
      message: string;
      retry_after_ms: number | null;
    }
  /** Nobody knows: no answer, a server error, or an answer that makes no sense. */
  | { kind: 'unknown' };

export type HealthAnswer =
  | { kind: 'ok'; health: Health }
  /** The provider knows the endpoint no longer, or does not serve this account. */
  | { kind: 'refused' }
  /** No answer, or none that makes sense. */
  | { kind: 'failed' };
