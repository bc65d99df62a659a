import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, nodeOf, type Node } from '../graph.ts';
import { BUNDLES, isSampler, SWITCHED } from './conditioning.ts';
import type { Search } from './prompts.ts';
import { isLiteral } from './literals.ts';

/** Finds where the size and the length of a new picture or video are given. */

export const WIDTH_INPUTS = ['width', 'empty_latent_width', 'latent_width', 'image_width', 'video_width'] as const;
export const HEIGHT_INPUTS = [
  'height',
  'empty_latent_height',
  'latent_height',
  'image_height',
  'video_height',
] as const;
export const LENGTH_INPUTS = ['length', 'num_frames', 'video_frames', 'frames', 'frames_number'] as const;

/** Names of inputs for latents. */
const LATENTS = /latent|samples|image_embeds/i;
/** Names of inputs for images. */
const PICTURES = /pixels|image/i;
/** Classes that change the size. */
const RESIZES = /scale|resize|crop|pad(?!ding_mode)/i;
/** Other names for a size. A node with such an input has a size that this code cannot set. */
const SIZED = /width|height|(?<!batch_)size|resolution|dimension|aspect|ratio|megapixel/i;
/** Inputs for a preset that replaces width and height, unless the preset is off. */
const PRESET = /resolution|aspect|ratio|preset|dimensions/i;
const PRESET_OFF = /custom|none|default|manual|^$/i;

/**
 * Finds the inputs for a size. It follows latents backwards from the samplers to the nodes that create them. Where a
 * latent comes from an image, it follows the images to the nearest node that resizes one. A node that upscales the
 * result of an earlier sampler is skipped, because its size is not the one asked for. A graph without a sampler is
 * searched by input names only.
 */
export function findSizes(graph: Graph, names: readonly string[]): Search {
  const samplers = Object.keys(graph).filter((id) => isSamplerAt(graph, id));
  return samplers.length === 0 ? withoutSampler(graph, names) : walked(graph, names, samplers);
}

/** `changedBy`: the node nearest to the sampler that changes the size between here and the sampler. */
type Step = { id: string; isPicture: boolean; changedBy: string | null };

function walked(graph: Graph, names: readonly string[], samplers: readonly string[]): Search {
  const found: Search = { inputs: [], unclear: [] };
  const isSize = names !== LENGTH_INPUTS;
  const resampled = dependentsOf(graph, samplers);
  const seen = new Set<string>();
  const todo: Step[] = [];
  const follow = (node: Node, ways: readonly RegExp[], changedBy: string | null): boolean => {
    const way = ways.find((each) => linkedBy(node, each).length > 0);
    if (way !== undefined) {
      todo.push(...linkedBy(node, way).map((id) => ({ id, isPicture: way === PICTURES, changedBy })));
    }
    return way !== undefined;
  };
  for (const id of samplers) {
    const node = nodeOf(graph, id);
    if (node !== undefined && !follow(node, [LATENTS, BUNDLES], null)) {
      found.inputs.push(...sizeOf(node, names).map((input) => ({ node: id, input })));
    }
  }
  for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
    const { id, isPicture, changedBy } = step;
    const node = nodeOf(graph, id);
    const key = `${isPicture} ${id}`;
    if (node === undefined || seen.has(key) || isSampler(node)) {
      continue;
    }
    seen.add(key);
    const own = sizeOf(node, names);
    const isNew = isPicture ? !resampled.has(id) : linkedBy(node, LATENTS).length === 0;
    if (own.length > 0 && isNew) {
      const preset = isSize ? presetOf(node) : null;
      if (preset !== null) {
        found.unclear.push({ node: id, why: `chooses it by the preset ${JSON.stringify(preset)}` });
      } else if (isSize && changedBy !== null) {
        found.unclear.push({ node: changedBy, why: `changes the size of node ${id}` });
      } else {
        found.inputs.push(...own.map((input) => ({ node: id, input })));
      }
      continue;
    }
    const ways = isPicture ? [PICTURES, LATENTS, SWITCHED] : [LATENTS, BUNDLES, PICTURES, SWITCHED];
    const isOther = hasOtherSize(node);
    if (!follow(node, ways, changedBy ?? (isOther ? id : null)) && isSize && isOther && !isPicture) {
      found.unclear.push({ node: id, why: 'has no known input for it' });
    }
  }
  return found;
}

/** For a graph without a sampler: every node with a size. */
function withoutSampler(graph: Graph, names: readonly string[]): Search {
  const found: Search = { inputs: [], unclear: [] };
  for (const [id, node] of Object.entries(graph)) {
    const [size] = sizeOf(node, names);
    // `length` means frames only in a node that also has a width.
    if (size === undefined || (size === 'length' && sizeOf(node, WIDTH_INPUTS).length === 0)) {
      continue;
    }
    const preset = names === LENGTH_INPUTS ? null : presetOf(node);
    if (preset === null) {
      found.inputs.push({ node: id, input: size });
    } else {
      found.unclear.push({ node: id, why: `chooses it by the preset ${JSON.stringify(preset)}` });
    }
  }
  return found;
}

/** The nodes that depend on a node of `from`, directly or through others. */
function dependentsOf(graph: Graph, from: readonly string[]): Set<string> {
  const users = new Map<string, string[]>();
  for (const [id, node] of Object.entries(graph)) {
    for (const source of linkedBy(node, /(?:)/)) {
      const known = users.get(source) ?? [];
      known.push(id);
      users.set(source, known);
    }
  }
  const found = new Set<string>();
  const todo = [...from];
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    for (const user of users.get(id) ?? []) {
      if (!found.has(user)) {
        found.add(user);
        todo.push(user);
      }
    }
  }
  return found;
}

const isSamplerAt = (graph: Graph, id: string): boolean => {
  const node = nodeOf(graph, id);
  return node !== undefined && isSampler(node);
};

/**
 * The first input of the node that is in `names`; further ones serve other purposes. `model.width` counts as `width`.
 */
const sizeOf = (node: Node, names: readonly string[]): string[] => {
  const given = Object.keys(node.inputs).filter((input) => isGiven(node, input));
  return names.flatMap((name) => given.filter((input) => input.split('.').at(-1) === name)).slice(0, 1);
};

const presetOf = (node: Node): string | null =>
  Object.keys(node.inputs).find((name) => {
    const value = inputOf(node, name);
    return PRESET.test(name) && typeof value === 'string' && !PRESET_OFF.test(value);
  }) ?? null;

const hasOtherSize = (node: Node): boolean =>
  RESIZES.test(node.class_type) || Object.keys(node.inputs).some((name) => SIZED.test(name));

const isGiven = (node: Node, name: string): boolean => {
  const value = inputOf(node, name);
  return isLiteral(value, 'number') || isLink(value);
};

const linkedBy = (node: Node, names: RegExp): string[] =>
  Object.entries(node.inputs).flatMap(([name, value]) => (isLink(value) && names.test(name) ? [value[0]] : []));
