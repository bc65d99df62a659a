import type { Draft } from './draft.ts';

/**
 * Save nodes that share a `filename_prefix` take turns in numbering their files, so that a file's name depends on the order of
 * execution. The second and every later one gets its node's id behind the prefix. Jobs need no prefix of their own: the worker
 * keeps every attempt's files in a folder of its own.
 */
export type Renamed = { node: string; from: string; to: string };

const PREFIX = 'filename_prefix';

export function separatePrefixes(draft: Draft): Renamed[] {
  const nodes = Object.entries(draft.graph).flatMap(([id, { inputs }]) => {
    const prefix = Object.hasOwn(inputs, PREFIX) ? inputs[PREFIX] : undefined;
    return typeof prefix === 'string' ? [{ id, prefix }] : [];
  });
  const taken = new Set(nodes.map(({ prefix }) => prefix));
  const first = new Set<string>();
  return nodes.flatMap(({ id, prefix }): Renamed[] => {
    if (!first.has(prefix)) {
      first.add(prefix);
      return [];
    }
    let to = `${prefix}_${id.replaceAll(/[^A-Za-z0-9-]/g, '-').slice(0, 40)}`;
    while (taken.has(to)) {
      to += '-';
    }
    taken.add(to);
    const spot = { node: id, input: PREFIX };
    draft.set(spot, to, draft.place(id, 'inputs', PREFIX));
    return [{ node: id, from: prefix, to }];
  });
}
