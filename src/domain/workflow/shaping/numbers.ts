import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, type Node, type NodeInput } from '../graph.ts';
import { isSampler } from './conditioning.ts';
import { isLiteral } from './literals.ts';

/** Finds the seed and step inputs that overrides may set. */

export const SEED_INPUTS = ['seed', 'noise_seed'] as const;
const STEP_INPUTS = ['steps'] as const;

/** Nodes that prepare values for a sampler. */
const PREPARES = /sampl(?:e|ing)/i;
const SCHEDULES = /scheduler|sigmas/i;
/** Nodes that make noise. */
const SEEDED = /noise/i;

/** The seeds of samplers and noise nodes; the seeds of all nodes in a graph without a sampler. */
export const seedInputs = (graph: Graph): NodeInput[] => inputsOf(graph, SEED_INPUTS, SEEDED);

/** The steps of samplers and schedulers; the steps of all nodes in a graph without a sampler. */
export const stepInputs = (graph: Graph): NodeInput[] => inputsOf(graph, STEP_INPUTS, SCHEDULES);

function inputsOf(graph: Graph, names: readonly string[], alsoIn: RegExp): NodeInput[] {
  const nodes = Object.entries(graph);
  const hasSampler = nodes.some(([, node]) => isSampler(node));
  const targets = (fits: (node: Node) => boolean): NodeInput[] =>
    nodes.flatMap(([id, node]) =>
      fits(node) ? names.filter((name) => isGiven(node, name)).map((input) => ({ node: id, input })) : [],
    );
  const found = targets(
    (node) => isSampler(node) || alsoIn.test(node.class_type) || (hasSampler && PREPARES.test(node.class_type)),
  );
  return found.length > 0 || hasSampler ? found : targets(() => true);
}

const isGiven = (node: Node, name: string): boolean => {
  const value = inputOf(node, name);
  return isLiteral(value, 'number') || isLink(value);
};
