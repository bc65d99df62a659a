import type { Graph } from '../../../contract/new-job.ts';
import { quote, type Fault, type FaultCode } from '../../problems.ts';
import { nodeOf, type Place, type Spot } from '../graph.ts';

/**
 * A graph while it is shaped: a copy that may be written to, what was wrong so far, and for every input that was set the place
 * in the request it was set from, so that a fault found later points to what the client wrote.
 */
export type Draft = {
  readonly graph: Graph;
  readonly faults: Fault[];
  readonly place: Place;
  readonly set: (spot: Spot, value: unknown, origin: string) => void;
  /** Whether an override or a parameter has set this input. */
  readonly wasSet: (spot: Spot) => boolean;
  readonly fault: (pointer: string, code: FaultCode, detail: string) => void;
};

/** The graph given is not changed: nodes and their inputs are copied, values are shared and never written to. */
export function draftOf(original: Graph, inRequest: Place): Draft {
  const graph: Graph = Object.fromEntries(
    Object.entries(original).map(([id, node]) => [id, { ...node, inputs: { ...node.inputs } }]),
  );
  const origins = new Map<string, string>();
  const faults: Fault[] = [];
  return {
    graph,
    faults,
    place: (...path) => {
      const [id, inputs, input] = path;
      const origin =
        id === undefined || inputs !== 'inputs' || input === undefined
          ? undefined
          : origins.get(key({ node: id, input }));
      return origin ?? inRequest(...path);
    },
    set: (spot, value, origin) => {
      const node = nodeOf(graph, spot.node);
      if (node === undefined) {
        throw new Error(`there is no node ${quote(spot.node)} to set`);
      }
      // Defined rather than assigned: an input may have any name, `__proto__` too.
      Object.defineProperty(node.inputs, spot.input, { value, writable: true, enumerable: true, configurable: true });
      origins.set(key(spot), origin);
    },
    wasSet: (spot) => origins.has(key(spot)),
    fault: (pointer, code, detail) => void faults.push({ pointer, code, detail }),
  };
}

const key = ({ node, input }: Spot): string => JSON.stringify([node, input]);
