import { z } from 'zod';

/** What a time in the configuration may be, in seconds. Below these bounds a gateway harms itself; defaults are far above them. */

/** A day: nothing that is waited for in a run is waited for longer. */
export const MAX_WAIT_S = 86_400;

/**
 * Shortest time to wait for an answer of a worker or of RunPod, or between two questions. A second holds a round trip and one repetition
 * (a worker comes back after 0.1 s first, worker-gpu patience.py), and keeps 200 running jobs within the 2,000 status calls that RunPod
 * takes in 10 s (reference/runpod.md 2.4).
 */
export const MIN_WAIT_S = 1;

/** RunPod keeps what a run came to for 30 minutes (reference/runpod.md 2.5): two questions must fit. */
export const MAX_POLL_S = 900;

/** RunPod takes no life of a run (`policy.ttl`) below it (reference/runpod.md 2.2). */
export const MIN_FINISH_S = 10;

/** Shortest life of what a client is told of and then fetches or uses. */
export const MIN_KEPT_S = 60;

/** Ten years: longer than any promise, and still a time that can be written down. */
export const MAX_KEPT_S = 315_360_000;

/** A wait in a run, in seconds. */
export const wait = z.number().min(MIN_WAIT_S).max(MAX_WAIT_S);
