import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, type Node, type Spot } from '../graph.ts';
import { isSampler } from './conditioning.ts';
import { isLiteral } from './sources.ts';

/** Finds the seed and step inputs that overrides may set. */

export const SEED_INPUTS = ['seed', 'noise_seed'] as const;
const STEP_INPUTS = ['steps'] as const;

/** Nodes that prepare values for a sampler. */
const PREPARES = /sampl(?:e|ing)/i;
const SCHEDULES = /scheduler|sigmas/i;
/** Nodes that make noise. */
const SEEDED = /noise/i;

/** The seeds of samplers and noise nodes; the seeds of all nodes in a graph without a sampler. */
export const seedSpots = (graph: Graph): Spot[] => spotsOf(graph, SEED_INPUTS, SEEDED);

/** The steps of samplers and schedulers; the steps of all nodes in a graph without a sampler. */
export const stepSpots = (graph: Graph): Spot[] => spotsOf(graph, STEP_INPUTS, SCHEDULES);

function spotsOf(graph: Graph, names: readonly string[], alsoIn: RegExp): Spot[] {
  const nodes = Object.entries(graph);
  const hasSampler = nodes.some(([, node]) => isSampler(node));
  const spots = (fits: (node: Node) => boolean): Spot[] =>
    nodes.flatMap(([id, node]) =>
      fits(node) ? names.filter((name) => isGiven(node, name)).map((input) => ({ node: id, input })) : [],
    );
  const found = spots(
    (node) => isSampler(node) || alsoIn.test(node.class_type) || (hasSampler && PREPARES.test(node.class_type)),
  );
  return found.length > 0 || hasSampler ? found : spots(() => true);
}

const isGiven = (node: Node, name: string): boolean => {
  const value = inputOf(node, name);
  return isLiteral(value, 'number') || isLink(value);
};
