import type { Progress } from '../../contract/job.ts';
import { jsonBytes } from './size.ts';
import type { Turn } from './transition.ts';

/**
 * The log keeps the first progress message, then at most one per so many ms; what lies between is shown live only. A stored message
 * is two thirds of what a running job costs (docs/operations/benchmarks.md), and a log is read for what happened, not for how fast.
 */
const PROGRESS_THINNING = [
  { after: 1_500, every_ms: 60_000 },
  { after: 0, every_ms: 15_000 },
] as const;
/** Changes of nodes that wait for the next entry of the log, in bytes of JSON: an event has room for as many (event-size.ts). */
const MAX_WAITING_NODES_BYTES = 48 * 1024;

/** Shows how far the graph is, which never falls within an attempt. True where that became an entry of the log. */
export function showProgress(turn: Turn, progress: Progress, nodes: Record<string, unknown> | null): boolean {
  const { state } = turn;
  if (nodes !== null && !nodesFit(state.progress_log.nodes, nodes)) {
    logLastProgress(turn);
  }
  const before = state.progress?.value ?? 0;
  const shown = { ...progress, value: Math.max(progress.value, before) };
  state.progress = shown;
  Object.assign(state.progress_log.nodes, nodes);
  if (keepsProgress(turn) || (shown.value === 1 && before < 1)) {
    logProgress(turn);
    return true;
  }
  turn.show({ event: 'progress', data: { ...shown, ...(nodes === null ? {} : { nodes }) } });
  return false;
}

function keepsProgress({ state, now }: Turn): boolean {
  const { count, at } = state.progress_log;
  const rule = PROGRESS_THINNING.find(({ after }) => count >= after);
  return rule === undefined || now - at >= rule.every_ms;
}

const nodesFit = (waiting: Record<string, unknown>, more: Record<string, unknown>): boolean =>
  jsonBytes(waiting) + jsonBytes(more) <= MAX_WAITING_NODES_BYTES;

/** Writes the progress there is to the log, with every node that changed since it was last written. */
function logProgress(turn: Turn): void {
  const { progress, progress_log: log } = turn.state;
  if (progress !== null) {
    const nodes = Object.keys(log.nodes).length > 0 ? { nodes: log.nodes } : {};
    turn.log({ event: 'progress', data: { ...progress, ...nodes } });
    turn.state.progress_log = { count: log.count + 1, at: turn.now, nodes: {} };
  }
}

/** Before an attempt ends: the log shows how far every node came. */
export function logLastProgress(turn: Turn): void {
  if (Object.keys(turn.state.progress_log.nodes).length > 0) {
    logProgress(turn);
  }
}
