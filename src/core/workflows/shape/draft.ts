import type { Graph } from '../../../contract/new-job.ts';
import { FaultList } from '../../fault-list.ts';
import { quote } from '../../problems.ts';
import { nodeOf, type Place, type Spot } from '../graph.ts';

/**
 * A graph while it is shaped: a copy that may be written to, what was wrong so far, and for every input that was set the place
 * in the request it was set from, so that a fault found later points to what the client wrote.
 */
export type Draft = {
  readonly graph: Graph;
  readonly faults: FaultList;
  readonly place: Place;
  /** `origin`: where in the request the value stands; without one that stays as it was. */
  readonly set: (spot: Spot, value: unknown, origin?: () => string) => void;
  /** Whether an override or a parameter has set this input. */
  readonly wasSet: (spot: Spot) => boolean;
};

/** The graph given is not changed: nodes and their inputs are copied, values are shared and never written to. */
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
        throw new Error(`there is no node ${quote(spot.node)} to set`);
      }
      // Defined rather than assigned: an input may have any name, `__proto__` too.
      Object.defineProperty(node.inputs, spot.input, { value, writable: true, enumerable: true, configurable: true });
      const inputs = origins.get(spot.node) ?? new Map<string, (() => string) | undefined>();
      origins.set(spot.node, inputs.set(spot.input, origin ?? inputs.get(spot.input)));
    },
    wasSet: ({ node, input }) => origins.get(node)?.has(input) === true,
  };
}
