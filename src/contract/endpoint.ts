import type { Stage } from './job.ts';

/**
 * Messages about one endpoint between its Endpoint object, Job objects and services. Times are ms since the epoch,
 * unless named.
 */

/** The endpoint of a request that does not name one. */
export const DEFAULT_ENDPOINT = 'default';

/** `closed` sends runs, `open` sends no run, `half_open` sends one run, whose outcome decides. */
export const BREAKER_MODES = ['closed', 'open', 'half_open'] as const;
export type BreakerMode = (typeof BREAKER_MODES)[number];

/**
 * Why the breaker is open: calls fail, the provider refuses the account or the endpoint, or no worker takes the queue.
 */
export const BREAKER_CAUSES = ['failing', 'refused', 'no_workers'] as const;
export type BreakerCause = (typeof BREAKER_CAUSES)[number];

/** Words of RunPod's `/health` for workers (reference/runpod.md 2.1). */
export const WORKER_STATES = ['idle', 'initializing', 'ready', 'running', 'throttled', 'unhealthy'] as const;
export type WorkersByState = Record<(typeof WORKER_STATES)[number], number>;

/** The provider's numbers for an endpoint. A missing number counts as 0. */
export type Health = { workers: WorkersByState; in_queue: number; in_progress: number };

/** The outcome of a call to the provider, for the breaker. A refusal of this one run is `ok`. */
export type CallOutcome = 'ok' | 'failed' | 'refused';

/** The answer to a job that is about to call `/run`. */
export type AcquireResult =
  /** `report`: whether the job also reports a call that succeeds. */
  { kind: 'go'; report: 'all' | 'trouble' } | { kind: 'wait'; wait_ms: number; cause: BreakerCause };

/** What an unclaimed run waits for. `no_workers`: the endpoint has had no workers for a while. */
export type Capacity = { stage: Extract<Stage, 'capacity' | 'cold_start'>; no_workers: boolean };

/** The state that a submit uses, because it must not wait. `waiting`: jobs that had to wait. */
export type BreakerState = { mode: BreakerMode; cause: BreakerCause | null; retry_at: number | null; waiting: number };

/** The status of an Endpoint object. Its counts are of calls of `/run` since its first use. */
export type EndpointStatus = BreakerState & {
  health: (Health & { at: number }) | null;
  counts: { sent: number; failed: number; refused: number };
};
