/** A job in the account's queue. `priority`: a higher class goes first. */
export type QueuedJob = { job: string; key: string; priority: number };

/** A longer queue is not counted: reading it would cost too much. Far above any usual `max_queued`. */
export const MAX_COUNTED = 2_000;

/**
 * A job's position in the queue, from 1: in which order `Slots.promote` would give out slots, if no other job came.
 * Null when the job is not queued. `queue` is in order of arrival; `active` is the number of active jobs of each key.
 *
 * Within a class, the next slot goes to the key with the fewest active jobs. When a job's turn comes, its key has those
 * that are active now and the key's own jobs ahead of it. So a class is ordered by that number, and then by arrival.
 */
export function queuePosition(
  queue: readonly QueuedJob[],
  active: ReadonlyMap<string, number>,
  job: string,
): number | null {
  const target = queue.find((each) => each.job === job);
  if (target === undefined) {
    return null;
  }
  const counts = new Map(active);
  const countOne = (key: string): number => {
    const before = counts.get(key) ?? 0;
    counts.set(key, before + 1);
    return before;
  };
  const higher = queue.filter(({ priority }) => priority > target.priority);
  for (const { key } of higher) {
    countOne(key);
  }
  const own = queue.filter(({ priority }) => priority === target.priority);
  const turns = own.map(({ key }) => countOne(key));
  const at = own.indexOf(target);
  const ownTurn = turns[at] ?? 0;
  const before = turns.filter((turn, index) => turn < ownTurn || (turn === ownTurn && index < at));
  return higher.length + before.length + 1;
}
