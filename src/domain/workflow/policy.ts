import type { NodePolicy } from '../../config/schema.ts';
import type { Graph } from '../../contract/new-job.ts';
import { quote, type Issue } from '../problems.ts';
import { isPlain, matchesClass } from './class-pattern.ts';
import type { RequestPointer } from './graph.ts';

/**
 * Reports each node that a policy forbids. A node must be allowed by every policy: the endpoint's and the key's. Names
 * may be patterns (class-pattern.ts). A class that is both allowed and denied is denied.
 */
export function disallowedNodes(graph: Graph, policies: readonly NodePolicy[], pointerOf: RequestPointer): Issue[] {
  const tests = policies.map(({ allow, deny }) => {
    const allowed = allow === undefined ? () => true : matcher(allow);
    const denied = matcher(deny ?? []);
    return (name: string): boolean => allowed(name) && !denied(name);
  });
  return Object.entries(graph).flatMap(([id, { class_type }]): Issue[] =>
    tests.every((mayRun) => mayRun(class_type))
      ? []
      : [
          {
            pointer: pointerOf(id, 'class_type'),
            code: 'node_not_allowed',
            detail: `Node class ${quote(class_type)} is not allowed here.`,
          },
        ],
  );
}

function matcher(names: readonly string[]): (name: string) => boolean {
  const plain = new Set(names.filter(isPlain));
  const patterns = names.filter((name) => !isPlain(name));
  return (name) => plain.has(name) || patterns.some((pattern) => matchesClass(pattern, name));
}
