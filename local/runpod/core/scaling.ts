import type { RunpodJob } from './job.ts';
import type { WorkerRecord } from './roster.ts';

/** The scaler's settings: RunPod's QUEUE_DELAY type (API v2: `scaling {type: QUEUE_DELAY, queueDelay}`). */
export interface ScalingRules {
  min: number;
  max: number;
  queueDelayMs: number;
}

/**
 * How many workers to start now: enough for `min`, and one for each job that has waited longer than the
 * queue delay without a free worker, up to `max` (stopping workers count). A low-priority job starts no worker.
 */
export function workersToStart(
  rules: ScalingRules,
  queued: readonly RunpodJob[],
  workers: readonly WorkerRecord[],
  now: number,
): number {
  const waiting = queued.filter((job) => !job.lowPriority && now - job.queuedAt >= rules.queueDelayMs).length;
  const free = workers.filter((worker) => worker.state === 'idle' || worker.state === 'initializing').length;
  const staying = workers.filter((worker) => worker.state !== 'stopping').length;
  const wanted = Math.max(waiting - free, rules.min - staying);
  return Math.max(Math.min(wanted, rules.max - workers.length), 0);
}

/** The next time at which `workersToStart` may return more: the next job reaches the queue delay. */
export function nextScaling(rules: ScalingRules, queued: readonly RunpodJob[], now: number): number {
  const later = queued.filter((job) => !job.lowPriority && job.queuedAt + rules.queueDelayMs > now);
  return Math.min(Number.POSITIVE_INFINITY, ...later.map((job) => job.queuedAt + rules.queueDelayMs));
}
