import type { Attempt } from './state.ts';

/**
 * Measures how long the graph of an attempt has executed, as far as the gateway knows. This time is charged however the
 * attempt ended, so that a graph that crashes ComfyUI or its worker is not free (docs/decisions/0053).
 */

/** Records that the worker executes the graph from now on. */
export function startExecuting(attempt: Attempt, now: number): void {
  attempt.executing_since ??= now;
}

/** Records that the worker no longer executes the graph, or has lost its connection. */
export function stopExecuting(attempt: Attempt, now: number): void {
  if (attempt.executing_since !== null) {
    attempt.executed_ms += Math.max(0, now - attempt.executing_since);
    attempt.executing_since = null;
  }
}
