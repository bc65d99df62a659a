import type { Progress } from '../../contract/job.ts';
import { jsonBytes } from './size.ts';
import type { Transition } from './transition.ts';

/**
 * The log keeps the first progress message, then at most one per interval. Other messages are only sent to current
 * watchers. Storing messages is two thirds of the cost of a running job (docs/operations/benchmarks.md).
 */
const PROGRESS_THINNING = [
  { after: 1_500, every_ms: 60_000 },
  { after: 0, every_ms: 15_000 },
] as const;
/**
 * The most node changes that wait for the next log entry, in bytes of JSON; one event has room for them
 * (event-size.ts).
 */
const MAX_WAITING_NODES_BYTES = 48 * 1024;

/** Sends progress to watchers. It never decreases within an attempt. Returns whether it became a log entry. */
export function showProgress(
  transition: Transition,
  progress: Progress,
  nodes: Record<string, unknown> | null,
): boolean {
  const { state } = transition;
  if (nodes !== null && !nodesFit(state.progress_log.nodes, nodes)) {
    logLastProgress(transition);
  }
  const before = state.progress?.value ?? 0;
  const shown = { ...progress, value: Math.max(progress.value, before) };
  state.progress = shown;
  Object.assign(state.progress_log.nodes, nodes);
  if (keepsProgress(transition) || (shown.value === 1 && before < 1)) {
    logProgress(transition);
    return true;
  }
  transition.show({ event: 'progress', data: { ...shown, ...(nodes === null ? {} : { nodes }) } });
  return false;
}

function keepsProgress({ state, now }: Transition): boolean {
  const { count, at } = state.progress_log;
  const rule = PROGRESS_THINNING.find(({ after }) => count >= after);
  return rule === undefined || now - at >= rule.every_ms;
}

const nodesFit = (waiting: Record<string, unknown>, more: Record<string, unknown>): boolean =>
  jsonBytes(waiting) + jsonBytes(more) <= MAX_WAITING_NODES_BYTES;

/** Writes the current progress to the log, with all nodes that changed since the last entry. */
function logProgress(transition: Transition): void {
  const { progress, progress_log: log } = transition.state;
  if (progress !== null) {
    const nodes = Object.keys(log.nodes).length > 0 ? { nodes: log.nodes } : {};
    transition.log({ event: 'progress', data: { ...progress, ...nodes } });
    transition.state.progress_log = { count: log.count + 1, at: transition.now, nodes: {} };
  }
}

/** Writes the last progress of every node to the log before an attempt ends. */
export function logLastProgress(transition: Transition): void {
  if (Object.keys(transition.state.progress_log.nodes).length > 0) {
    logProgress(transition);
  }
}
