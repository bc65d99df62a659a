import type { Draft } from './draft.ts';

/**
 * Save nodes that share a `filename_prefix` take turns in numbering their files, so that a file's name depends on the order of
 * execution. The second and every later one gets its node's id behind the prefix. Jobs need no prefix of their own: the worker
 * keeps every attempt's files in a folder of its own.
 */
export type Renamed = { node: string; input: string; from: string; to: string };

const PREFIX = 'filename_prefix';
/** As much of an id as a file's name can spare: names of outputs end at 255 bytes. */
const MAX_ID_CHARS = 40;

export function separatePrefixes(draft: Draft): Renamed[] {
  const nodes = Object.entries(draft.graph).flatMap(([id, { inputs }]) => {
    const prefix = Object.hasOwn(inputs, PREFIX) ? inputs[PREFIX] : undefined;
    return typeof prefix === 'string' ? [{ id, prefix }] : [];
  });
  const taken = new Set(nodes.map(({ prefix }) => prefix));
  const first = new Set<string>();
  const numbers = new Map<string, number>();
  return nodes.flatMap(({ id, prefix }): Renamed[] => {
    if (!first.has(prefix)) {
      first.add(prefix);
      return [];
    }
    const own = `${prefix}_${id.slice(0, MAX_ID_CHARS).replaceAll(/[^A-Za-z0-9-]/g, '-')}`;
    let to = own;
    // Ids that look alike here: each next one is told apart by the next number.
    for (let next = numbers.get(own) ?? 2; taken.has(to); next += 1) {
      to = `${own}-${next}`;
      numbers.set(own, next + 1);
    }
    taken.add(to);
    const spot = { node: id, input: PREFIX };
    draft.set(spot, to);
    return [{ ...spot, from: prefix, to }];
  });
}
