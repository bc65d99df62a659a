import { pointer, quote } from '../../problems.ts';
import { nodeOf } from '../graph.ts';
import type { Draft } from './draft.ts';

/** Inputs to set, by node: `{"6": {"text": "a cat"}}`. */
export type Params = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/**
 * Sets inputs of named nodes. Adds an input that the node does not have, because most exports leave out optional
 * inputs.
 */
export function setParams(draft: Draft, params: Params): void {
  for (const [node, inputs] of Object.entries(params)) {
    if (nodeOf(draft.graph, node) === undefined) {
      draft.faults.add('node_missing', () => ({
        pointer: pointer(['params', node]),
        detail: `The workflow has no node ${quote(node)}.`,
      }));
      continue;
    }
    for (const [input, value] of Object.entries(inputs)) {
      draft.set({ node, input }, value, () => pointer(['params', node, input]));
    }
  }
}
