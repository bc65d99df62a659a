import type { Graph } from '../../../contract/new-job.ts';
import { ValidationErrors } from '../../validation-errors.ts';
import { quote } from '../../problems.ts';
import { nodeOf, type RequestPointer, type NodeInput } from '../graph.ts';

/**
 * The working copy of a graph during shaping, with the issues found so far. For every input that was set it remembers
 * which part of the request set it, so that an issue found later points to what the client wrote.
 */
export type WorkingCopy = {
  readonly graph: Graph;
  readonly issues: ValidationErrors;
  readonly pointerOf: RequestPointer;
  /** `origin`: the JSON pointer of the value in the request. Without it, the input keeps its earlier origin. */
  readonly set: (target: NodeInput, value: unknown, origin?: () => string) => void;
  /** Whether an override or a param has set this input. */
  readonly wasSet: (target: NodeInput) => boolean;
};

/** Copies nodes and their inputs, so that the original does not change. Values are shared and never written to. */
export function workingCopyOf(original: Graph, inRequest: RequestPointer): WorkingCopy {
  const graph: Graph = Object.fromEntries(
    Object.entries(original).map(([id, node]) => [id, { ...node, inputs: { ...node.inputs } }]),
  );
  const origins = new Map<string, Map<string, (() => string) | undefined>>();
  return {
    graph,
    issues: new ValidationErrors(),
    pointerOf: (...path) => {
      const [id, inputs, input] = path;
      const origin =
        id === undefined || inputs !== 'inputs' || input === undefined ? undefined : origins.get(id)?.get(input);
      return origin?.() ?? inRequest(...path);
    },
    set: (target, value, origin) => {
      const node = nodeOf(graph, target.node);
      if (node === undefined) {
        throw new Error(`node ${quote(target.node)} does not exist`);
      }
      // Defined rather than assigned, because an input may be named `__proto__`.
      Object.defineProperty(node.inputs, target.input, { value, writable: true, enumerable: true, configurable: true });
      const inputs = origins.get(target.node) ?? new Map<string, (() => string) | undefined>();
      origins.set(target.node, inputs.set(target.input, origin ?? inputs.get(target.input)));
    },
    wasSet: ({ node, input }) => origins.get(node)?.has(input) === true,
  };
}
