import type { Graph } from '../../../contract/new-job.ts';
import { FaultList } from '../../fault-list.ts';
import { quote } from '../../problems.ts';
import { nodeOf, type Place, type Spot } from '../graph.ts';

/**
 * The working copy of a graph during shaping, with the issues found so far. For every input that was set it remembers
 * which part of the request set it, so that an issue found later points to what the client wrote.
 */
export type Draft = {
  readonly graph: Graph;
  readonly faults: FaultList;
  readonly place: Place;
  /** `origin`: the JSON pointer of the value in the request. Without it, the input keeps its earlier origin. */
  readonly set: (spot: Spot, value: unknown, origin?: () => string) => void;
  /** Whether an override or a param has set this input. */
  readonly wasSet: (spot: Spot) => boolean;
};

/** Copies nodes and their inputs, so that the original does not change. Values are shared and never written to. */
export function draftOf(original: Graph, inRequest: Place): Draft {
  const graph: Graph = Object.fromEntries(
    Object.entries(original).map(([id, node]) => [id, { ...node, inputs: { ...node.inputs } }]),
  );
  const origins = new Map<string, Map<string, (() => string) | undefined>>();
  return {
    graph,
    faults: new FaultList(),
    place: (...path) => {
      const [id, inputs, input] = path;
      const origin =
        id === undefined || inputs !== 'inputs' || input === undefined ? undefined : origins.get(id)?.get(input);
      return origin?.() ?? inRequest(...path);
    },
    set: (spot, value, origin) => {
      const node = nodeOf(graph, spot.node);
      if (node === undefined) {
        throw new Error(`node ${quote(spot.node)} does not exist`);
      }
      // Defined rather than assigned, because an input may be named `__proto__`.
      Object.defineProperty(node.inputs, spot.input, { value, writable: true, enumerable: true, configurable: true });
      const inputs = origins.get(spot.node) ?? new Map<string, (() => string) | undefined>();
      origins.set(spot.node, inputs.set(spot.input, origin ?? inputs.get(spot.input)));
    },
    wasSet: ({ node, input }) => origins.get(node)?.has(input) === true,
  };
}
