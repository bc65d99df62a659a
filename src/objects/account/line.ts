/** A job in the account's line. `priority`: a higher class goes first. */
export type Waiting = { job: string; key: string; priority: number };

/** A line that is longer is not counted: the answer would cost more than it is worth. Far above any usual `max_queued`. */
export const MAX_COUNTED = 2_000;

/**
 * The place of a job, from 1, if places came free one after another and nobody else came: the order in which `Places.fill` lets jobs
 * in. `line` is in order of arrival; `inWork` is how many jobs of each key are in work. Null when the job is not in the line.
 */
export function placeInLine(line: readonly Waiting[], inWork: ReadonlyMap<string, number>, job: string): number | null {
  const sought = line.find((each) => each.job === job);
  if (sought === undefined) {
    return null;
  }
  const ahead = line.filter(({ priority }) => priority > sought.priority);
  const counts = new Map(inWork);
  for (const { key } of ahead) {
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const left = line.filter(({ priority }) => priority === sought.priority);
  for (let place = ahead.length + 1; ; place += 1) {
    const next = nextOf(left, counts);
    const [taken] = left.splice(next, 1);
    if (taken === undefined || taken.job === job) {
      return place;
    }
    counts.set(taken.key, (counts.get(taken.key) ?? 0) + 1);
  }
}

/** Index of who goes next in a class: of the key that has the fewest in work; of those, who came first. */
function nextOf(line: readonly Waiting[], counts: ReadonlyMap<string, number>): number {
  let best = 0;
  let fewest = Infinity;
  const seen = new Set<string>();
  for (const [at, { key }] of line.entries()) {
    if (seen.has(key)) {
      continue;
    }
    seen.add(key);
    const count = counts.get(key) ?? 0;
    if (count < fewest) {
      best = at;
      fewest = count;
    }
  }
  return best;
}
