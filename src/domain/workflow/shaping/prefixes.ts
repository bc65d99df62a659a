import type { WorkingCopy } from './working-copy.ts';

/**
 * Gives save nodes different prefixes. Nodes with the same `filename_prefix` share one numbering, so that file names
 * would depend on the order of execution. The second and each later node gets its id appended to the prefix. A prefix
 * per job is not needed, because the worker gives every attempt a separate folder.
 */
export type Renamed = { node: string; input: string; from: string; to: string };

const PREFIX = 'filename_prefix';
/** The most characters of an id in a prefix. A file name has at most 255 bytes in all. */
const MAX_ID_CHARS = 40;

export function separatePrefixes(copy: WorkingCopy): Renamed[] {
  const nodes = Object.entries(copy.graph).flatMap(([id, { inputs }]) => {
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
    // Different ids may give the same name here. A number makes each one unique.
    for (let next = numbers.get(own) ?? 2; taken.has(to); next += 1) {
      to = `${own}-${next}`;
      numbers.set(own, next + 1);
    }
    taken.add(to);
    const target = { node: id, input: PREFIX };
    copy.set(target, to);
    return [{ ...target, from: prefix, to }];
  });
}
