import type { Health, Capacity } from '../../contract/endpoint.ts';
import type { Supply } from './circuit-breaker.ts';

/** Interprets RunPod's `/health` for waiting runs. */

/** Whether workers run, can run, or are being started. RunPod keeps looking for a machine for a throttled worker. */
const hasWorkers = ({ workers }: Health): boolean =>
  workers.idle + workers.initializing + workers.ready + workers.running + workers.throttled > 0;

/**
 * Runs wait, but there are no workers. This is normal for seconds, but an outage for minutes
 * (reference/runpod.md 2.10).
 */
export const isStarving = (health: Health): boolean => !hasWorkers(health) && health.in_queue > 0;

/** `starving_since`: the start of the current time without workers, in ms; null when there are workers. */
export function supplyOf(
  health: Health,
  starving_since: number | null,
  now: number,
  no_workers_after_ms: number,
): Supply {
  if (hasWorkers(health)) {
    return 'some';
  }
  if (health.in_queue === 0) {
    return 'idle';
  }
  return starving_since !== null && now - starving_since >= no_workers_after_ms ? 'starved' : 'unknown';
}

/** The stage of a run that is queued at RunPod: a worker is starting, or no machine is available yet. */
export const stageOf = ({ workers }: Health): Capacity['stage'] =>
  workers.initializing > 0 && workers.idle + workers.ready === 0 ? 'cold_start' : 'capacity';
