import { z } from 'zod';

/** Bounds of the times in the configuration, in seconds. Values outside of them would harm the gateway. */

/** A day: no wait in a run is longer. */
export const MAX_WAIT_S = 86_400;

/**
 * Shortest wait for a worker or for RunPod, and shortest time between two polls. A second is enough for a round trip
 * and one retry (a worker first retries after 0.1 s), and keeps 200 running jobs within the 2,000 status calls that
 * RunPod accepts in 10 s (reference/runpod.md 2.4).
 */
export const MIN_WAIT_S = 1;

/** RunPod keeps the result of a run for 30 minutes (reference/runpod.md 2.5): two polls must fit. */
export const MAX_POLL_S = 900;

/** RunPod accepts no shorter life of a run (`policy.ttl`, reference/runpod.md 2.2). */
export const MIN_FINISH_S = 10;

/** Shortest retention: a client must have time to fetch or use a resource after it learns of it. */
export const MIN_KEPT_S = 60;

/** Ten years: more than any account needs, and still a valid date when added to the current time. */
export const MAX_KEPT_S = 315_360_000;

/** A wait in a run, in seconds. */
export const wait = z.number().min(MIN_WAIT_S).max(MAX_WAIT_S);
