import type { JobErrorCode } from '../../contract/job.ts';
import type { RunStatus } from '../../contract/run.ts';

/** Somewhere that runs jobs on GPUs: RunPod today. Calls answer with values; they do not throw for what the network does. */
export type GpuProvider = {
  /** Hands a ticket over. Never repeated by this layer: the caller decides what an unknown outcome means. */
  run(order: RunOrder): Promise<RunAnswer>;
  /** What the provider says of a run. */
  status(endpoint: string, runId: string): Promise<RunStatus>;
  /** Cancels a run, queued or running. `done` also when it is over or unknown there. */
  cancel(endpoint: string, runId: string): Promise<'done' | 'again'>;
};

/** Times in ms. */
export type RunOrder = {
  endpoint: string;
  ticket: { job: string; attempt: number; gateway: string; token: string };
  webhook: string;
  execution_timeout_ms: number;
  ttl_ms: number;
};

export type RunAnswer =
  | { kind: 'accepted'; run_id: string }
  /** Surely not taken. `again`: a later try may succeed. */
  | { kind: 'refused'; again: boolean; code: JobErrorCode; message: string; retry_after_ms: number | null }
  /** Nobody knows: no answer, a server error, or an answer that makes no sense. */
  | { kind: 'unknown' };
