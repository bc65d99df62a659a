import { z } from 'zod';
import type { Output, Stage } from './job.ts';
import type { WorkerError, WorkerInfo } from './worker.ts';

/**
 * RunPod's id of a run, which becomes a part of URLs: a UUID with something before or behind it (reference/runpod.md
 * section 2).
 */
export const runIdSchema = z.string().regex(/^[\w-]{1,200}$/);

/** RunPod's words for a run (reference/runpod.md 2.3) reduced to what the job machine tells apart. `missing`: a 404. */
export type RunStatus =
  | 'queued'
  | 'running'
  | 'completed'
  | 'failed'
  | 'canceled'
  | 'timed_out'
  | 'missing'
  | 'unreachable';

/**
 * What runs on an endpoint. `worker-gpu` claims its tickets and reports to the gateway; `worker-comfyui` knows no
 * gateway: the graph goes inline, RunPod's status is all there is to hear, and the results are in it.
 */
export const WORKERS = ['worker-gpu', 'worker-comfyui'] as const;
export type WorkerKind = (typeof WORKERS)[number];

/**
 * Whether a worker of this kind claims its runs and reports to the gateway. Else the provider's word is all there is
 * about a run, and nothing fences it off from another one.
 */
export const WORKER_REPORTS: Readonly<Record<WorkerKind, boolean>> = { 'worker-gpu': true, 'worker-comfyui': false };

/**
 * RunPod's whole answer about a run. `output` and `error` are as the worker gave them, long texts cut or taken out.
 * Times in ms.
 */
export type RunRecord = {
  status: Exclude<RunStatus, 'missing' | 'unreachable'>;
  output: unknown;
  error: unknown;
  /** Time until a worker took it, and time on the worker; null while RunPod does not say. */
  delay_ms: number | null;
  execution_ms: number | null;
  /** RunPod's id of the worker. */
  worker: string | null;
};

/**
 * Progress that a worker without gateway support reported to RunPod. `value` (0 to 1) is null where only the steps of
 * one node are known.
 */
export type RunProgress = {
  value: number | null;
  nodes_done: number;
  nodes_total: number;
  current_node: string | null;
  current_node_class: string | null;
  step: number | null;
  steps: number | null;
  stage: Stage | null;
};

/** What the provider's status of a run says beside the word. Times in ms. */
export type RunNews = Pick<RunRecord, 'delay_ms' | 'execution_ms'> & {
  worker: WorkerInfo | null;
  progress: RunProgress | null;
};

/**
 * What a run came to whose results RunPod had; they are in R2 now. `error` is null where it succeeded; what came beside
 * an error is kept. `warnings` is what else the worker said.
 */
export type RunResult = { outputs: Output[]; error: RunFailure | null; warnings: string[]; moved_ms: number };

/** Why a run failed. `ran` false: the graph did not begin; else it did, or may have. */
export type RunFailure = WorkerError & { ran?: false };
