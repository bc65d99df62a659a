import { isLink } from '../graph.ts';
import type { WorkingCopy } from './working-copy.ts';

/**
 * Returns the new value of a text. `at` is its path: node, `inputs`, input, and the keys inside. `at` is reused between
 * calls.
 */
export type Change = (text: string, at: readonly string[]) => unknown;

/** Replaces texts in the inputs of a graph, also inside lists and objects. Links do not change. */
export function changeTexts(copy: WorkingCopy, change: Change): void {
  for (const [node, { inputs }] of Object.entries(copy.graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      const changed = changedIn(value, [node, 'inputs', input], change);
      if (changed !== value) {
        copy.set({ node, input }, changed);
      }
    }
  }
}

function changedIn(value: unknown, at: string[], change: Change): unknown {
  if (typeof value === 'string') {
    return change(value, at);
  }
  if (typeof value !== 'object' || value === null || isLink(value)) {
    return value;
  }
  const before = Object.entries(value);
  const after = before.map(([name, item]): [string, unknown] => {
    at.push(name);
    const changed = changedIn(item, at, change);
    at.pop();
    return [name, changed];
  });
  if (after.every(([, item], index) => item === before[index]?.[1])) {
    return value;
  }
  return Array.isArray(value) ? after.map(([, item]) => item) : Object.fromEntries(after);
}
