import type { Attempt } from './state.ts';

/**
 * How long the graph of an attempt has executed, as far as the gateway was told. It is charged whatever ended the attempt, so that a graph
 * which brings ComfyUI or its worker down is not free (docs/decisions/0053).
 */

/** The worker executes the graph from now on. */
export function startExecuting(attempt: Attempt, now: number): void {
  attempt.executing_since ??= now;
}

/** The worker no longer executes the graph, or cannot be heard. */
export function stopExecuting(attempt: Attempt, now: number): void {
  if (attempt.executing_since !== null) {
    attempt.executed_ms += Math.max(0, now - attempt.executing_since);
    attempt.executing_since = null;
  }
}
