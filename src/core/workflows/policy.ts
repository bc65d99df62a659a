import type { NodePolicy } from '../../config.ts';
import type { Graph } from '../../contract/new-job.ts';
import { quote, type Fault } from '../problems.ts';
import type { Place } from './graph.ts';

/**
 * One fault per node that a policy does not let run. Every policy must agree: the endpoint's, the key's. A name is exact, as
 * ComfyUI's own look-up is, or ends in `*` and means every class that begins so; a denied class stays denied though allowed.
 */
export function disallowedNodes(graph: Graph, policies: readonly NodePolicy[], place: Place): Fault[] {
  const tests = policies.map(({ allow, deny }) => {
    const allowed = allow === undefined ? () => true : matcher(allow);
    const denied = matcher(deny ?? []);
    return (name: string): boolean => allowed(name) && !denied(name);
  });
  return Object.entries(graph).flatMap(([id, { class_type }]): Fault[] =>
    tests.every((mayRun) => mayRun(class_type))
      ? []
      : [
          {
            pointer: place(id, 'class_type'),
            code: 'node_not_allowed',
            detail: `node class ${quote(class_type)} may not be used here`,
          },
        ],
  );
}

function matcher(names: readonly string[]): (name: string) => boolean {
  const exact = new Set(names.filter((name) => !name.endsWith('*')));
  const beginnings = names.filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  return (name) => exact.has(name) || beginnings.some((beginning) => name.startsWith(beginning));
}
