/** A job in the account's line. `priority`: a higher class goes first. */
export type Waiting = { job: string; key: string; priority: number };

/** A line that is longer is not counted: the answer would cost more than it is worth. Far above any usual `max_queued`. */
export const MAX_COUNTED = 2_000;

/**
 * The place of a job, from 1, if places came free one after another and nobody else came: the order in which `Places.fill` lets jobs
 * in. `line` is in order of arrival; `inWork` is how many jobs of each key are in work. Null when the job is not in the line.
 *
 * Within a class a job's turn comes when its key has the fewest in work, which by then are those of now and the key's own jobs ahead of
 * it. So a class goes in order of that number, and of arrival where it is the same.
 */
export function placeInLine(line: readonly Waiting[], inWork: ReadonlyMap<string, number>, job: string): number | null {
  const sought = line.find((each) => each.job === job);
  if (sought === undefined) {
    return null;
  }
  const counts = new Map(inWork);
  const countOne = (key: string): number => {
    const before = counts.get(key) ?? 0;
    counts.set(key, before + 1);
    return before;
  };
  const higher = line.filter(({ priority }) => priority > sought.priority);
  for (const { key } of higher) {
    countOne(key);
  }
  const own = line.filter(({ priority }) => priority === sought.priority);
  const turns = own.map(({ key }) => countOne(key));
  const at = own.indexOf(sought);
  const mine = turns[at] ?? 0;
  const before = turns.filter((turn, index) => turn < mine || (turn === mine && index < at));
  return higher.length + before.length + 1;
}
