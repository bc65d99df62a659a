import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, nodeOf, type Node, type Spot } from '../graph.ts';
import { SAMPLES } from './prompts.ts';
import { isLiteral } from './sources.ts';

/** Finds the numbers that overrides may set: seed, steps, and the size and length of what is made. */

export const SEED_INPUTS = ['seed', 'noise_seed'] as const;
export const LENGTH_INPUTS = ['length', 'num_frames', 'video_frames', 'frames', 'frames_number'] as const;

/** Nodes that begin a picture or a video. */
const BEGINS = /^empty|tovideo|_to_video|img2vid|i2v|t2v/i;
const SCHEDULES = /scheduler|sigmas/i;
/** Where noise is made. */
const SEEDED = /noise/i;
/** Inputs through which what is sampled comes in. */
const LATENTS = /latent|samples|image_embeds/i;
/** Inputs through which pictures come in. */
const PICTURES = /pixels|image/i;

/** Every seed of a node that samples or makes noise; of any node, if none of those has one. */
export const seedSpots = (graph: Graph): Spot[] =>
  firstOf(
    () => spotsOf(graph, SEED_INPUTS, (node) => SAMPLES.test(node.class_type) || SEEDED.test(node.class_type)),
    () => spotsOf(graph, SEED_INPUTS, () => true),
  );

/** The steps of samplers and of schedulers. */
export const stepSpots = (graph: Graph): Spot[] =>
  firstOf(
    () => spotsOf(graph, ['steps'], (node) => SAMPLES.test(node.class_type) || SCHEDULES.test(node.class_type)),
    () => spotsOf(graph, ['steps'], () => true),
  );

/**
 * Where the size of a new picture or video is given: by walking from the samplers along the latents to the nodes that begin
 * them. What enlarges a latent on the way has a size too, but not this one. Without a sampler, or where the latent is made from
 * a picture: the nodes that resize that picture; else whatever begins one.
 */
export const sizeSpots = (graph: Graph, names: readonly string[]): Spot[] =>
  firstOf(
    () => beginnings(graph, names, LATENTS),
    () => beginnings(graph, names, PICTURES),
    () => spotsOf(graph, names, (node) => BEGINS.test(node.class_type)),
    () =>
      spotsOf(
        graph,
        names,
        (node) => isGiven(node, 'width') || names.some((name) => name !== 'length' && isGiven(node, name)),
      ),
  );

function beginnings(graph: Graph, names: readonly string[], along: RegExp): Spot[] {
  const seen = new Set<string>();
  const found: Spot[] = [];
  const todo = Object.values(graph)
    .filter((node) => SAMPLES.test(node.class_type))
    .flatMap((node) => linkedBy(node, LATENTS));
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    const node = nodeOf(graph, id);
    if (node === undefined || seen.has(id)) {
      continue;
    }
    seen.add(id);
    const behind = linkedBy(node, along === LATENTS ? LATENTS : /pixels|image|latent|samples/i);
    const own = names.filter((name) => isGiven(node, name));
    if (own.length > 0 && (along === PICTURES || behind.length === 0)) {
      found.push(...own.map((input) => ({ node: id, input })));
    } else {
      for (const each of behind) {
        todo.push(each);
      }
    }
  }
  return found;
}

const isGiven = (node: Node, name: string): boolean => {
  const value = inputOf(node, name);
  return isLiteral(value, 'number') || isLink(value);
};

const linkedBy = (node: Node, names: RegExp): string[] =>
  Object.entries(node.inputs).flatMap(([name, value]) => (isLink(value) && names.test(name) ? [value[0]] : []));

const spotsOf = (graph: Graph, names: readonly string[], fits: (node: Node) => boolean): Spot[] =>
  Object.entries(graph).flatMap(([id, node]) =>
    fits(node) ? names.filter((name) => isGiven(node, name)).map((input) => ({ node: id, input })) : [],
  );

function firstOf(...finds: (() => Spot[])[]): Spot[] {
  for (const find of finds) {
    const spots = find();
    if (spots.length > 0) {
      return spots;
    }
  }
  return [];
}
