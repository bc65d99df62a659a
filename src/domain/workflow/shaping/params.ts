import { pointer, quote } from '../../problems.ts';
import { nodeOf } from '../graph.ts';
import type { WorkingCopy } from './working-copy.ts';

/** Inputs to set, by node: `{"6": {"text": "a cat"}}`. */
export type Params = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/**
 * Sets inputs of named nodes. Adds an input that the node does not have, because most exports leave out optional
 * inputs.
 */
export function setParams(copy: WorkingCopy, params: Params): void {
  for (const [node, inputs] of Object.entries(params)) {
    if (nodeOf(copy.graph, node) === undefined) {
      copy.issues.add('node_missing', () => ({
        pointer: pointer(['params', node]),
        detail: `The workflow has no node ${quote(node)}.`,
      }));
      continue;
    }
    for (const [input, value] of Object.entries(inputs)) {
      copy.set({ node, input }, value, () => pointer(['params', node, input]));
    }
  }
}
