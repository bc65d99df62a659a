import type { Health, Line } from '../../contract/endpoint.ts';
import type { Supply } from './circuit-breaker.ts';

/** What RunPod's `/health` means for a run that waits. */

/** Workers that run, can run, or are being looked for. RunPod goes on looking for a machine for a throttled one. */
const hasWorkers = ({ workers }: Health): boolean =>
  workers.idle + workers.initializing + workers.ready + workers.running + workers.throttled > 0;

/** Runs wait and there is no worker of any kind for them: normal for some seconds, a dead endpoint for minutes (reference/runpod.md 2.10). */
export const isStarving = (health: Health): boolean => !hasWorkers(health) && health.in_queue > 0;

/** `starving_since`: when this was first seen without a break, in ms; null: it is not so. */
export function supplyOf(health: Health, starving_since: number | null, now: number, patience_ms: number): Supply {
  if (hasWorkers(health)) {
    return 'some';
  }
  if (health.in_queue === 0) {
    return 'idle';
  }
  return starving_since !== null && now - starving_since >= patience_ms ? 'starved' : 'unknown';
}

/** The stage of a run that is queued at RunPod: a worker of its endpoint starts, or there is none to be had yet. */
export const stageOf = ({ workers }: Health): Line['stage'] =>
  workers.initializing > 0 && workers.idle + workers.ready === 0 ? 'cold_start' : 'capacity';
