import { graphLimitsSchema, type GraphLimits } from '../config/schema.ts';
import type { Graph } from '../contract/new-job.ts';
import { pointersIn } from '../domain/workflow/graph.ts';
import { shape, type Rules, type Shaping } from '../domain/workflow/shaping/shape.ts';

/** Shaping without limits and changes unless the test names them. Drawn seeds count up from 1001. */

export const rules = (over: Partial<Omit<Rules, 'limits'>> & { limits?: Partial<GraphLimits> } = {}): Rules => ({
  maxNodes: 2000,
  maxBytes: 1_000_000,
  policies: [],
  allowUrls: false,
  facts: null,
  ...over,
  limits: { ...graphLimitsSchema.parse({}), ...over.limits },
});

export function shaped(graph: Graph, shaping: Partial<Shaping> = {}, allowed: Rules = rules()) {
  let seed = 1000;
  const wanted = {
    params: {},
    overrides: {},
    randomizeSeeds: false,
    inputNames: new Map<string, string>(),
    tempOutputs: false,
    ...shaping,
  };
  const result = shape(graph, wanted, allowed, () => (seed += 1), pointersIn(['workflow']));
  return {
    ...result.shaped,
    issues: result.issues.listed,
    count: result.issues.count,
    /** The issues as `code pointer`, sorted. */
    at: result.issues.listed.map(({ code, pointer }) => `${code} ${pointer}`).sort(),
    /** What differs from the graph given, as `node.input`: new value. */
    changed: differences(graph, result.shaped.graph),
  };
}

function differences(before: Graph, after: Graph): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(after).flatMap(([id, { inputs }]) =>
      Object.entries(inputs).flatMap(([input, value]) =>
        before[id]?.inputs[input] === value ? [] : [[`${id}.${input}`, value]],
      ),
    ),
  );
}
