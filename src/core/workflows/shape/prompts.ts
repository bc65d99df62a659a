import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, nodeOf, type Node, type Spot } from '../graph.ts';

/**
 * Finds the texts that steer a picture, by walking from the samplers against the links: `positive` and `negative` of a sampler or
 * guider, through whatever changes conditioning on the way, to the text encoders.
 */

export type Role = 'positive' | 'negative';

/** Nodes that sample, and nodes that guide one that does. */
export const SAMPLES = /sampler|guider|detailer|ultimatesdupscale/i;
/** What encoders call a text: one for CLIPTextEncode, several for encoders of more than one language model. */
export const TEXT_INPUTS: readonly string[] =
  'text prompt user_prompt text_g text_l clip_l clip_g t5xxl llama bert mt5xl qwen25_7b tags'.split(' ');
/** What a node that takes both texts itself calls them. */
export const ROLE_INPUTS = {
  positive: ['positive', 'positive_prompt', 'prompt_positive'],
  negative: ['negative', 'negative_prompt', 'prompt_negative'],
} as const satisfies Record<Role, readonly string[]>;

/** Where a sampler or guider takes its conditioning. What has no roles (BasicGuider) takes what should be seen. */
const ROOT_INPUTS = {
  positive: ['positive', 'conditioning', 'cond1', 'text_embeds'],
  negative: ['negative', 'text_embeds'],
} as const satisfies Record<Role, readonly string[]>;

/** Inputs through which conditioning passes a node that changes it. */
const PASSES = /^cond|^conditioning|^any$|^input$/i;
/** Makes nothing of its conditioning: what stands behind it is no prompt. */
const ZEROES = /zeroout/i;

/** Text inputs in this role, each a literal or a link to one; several of one encoder belong together. */
export function promptSpots(graph: Graph, role: Role): Spot[] {
  const found = new Map<string, Spot>();
  const seen = new Set<string>();
  const todo: { id: string; slot: number; role: Role }[] = [];
  for (const node of Object.values(graph)) {
    if (SAMPLES.test(node.class_type)) {
      todo.push(...linksOf(node, ROOT_INPUTS[role]).map((link) => ({ ...link, role })));
    }
  }
  for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
    const node = nodeOf(graph, step.id);
    if (node === undefined) {
      continue;
    }
    const both = linksOf(node, ['positive', 'negative']);
    // A node with both takes and gives them in this order.
    const onward: Role = both.length === 2 && step.slot <= 1 ? (step.slot === 0 ? 'positive' : 'negative') : step.role;
    // A node is walked through once in each role, however many links lead to it.
    const key = JSON.stringify([step.id, onward]);
    if (seen.has(key)) {
      continue;
    }
    seen.add(key);
    const texts = textsOf(node, onward);
    for (const input of texts) {
      found.set(JSON.stringify([step.id, input]), { node: step.id, input });
    }
    if (texts.length > 0 || ZEROES.test(node.class_type)) {
      continue;
    }
    const next = both.length > 0 ? linksOf(node, [onward]) : linksOf(node, Object.keys(node.inputs).filter(isPassage));
    for (const link of next) {
      todo.push({ ...link, role: onward });
    }
  }
  return found.size > 0 ? [...found.values()] : withoutSampler(graph, role);
}

/** The text inputs of a node that conditioning comes from. */
export function textsOf(node: Node, role: Role): string[] {
  const own = ROLE_INPUTS[role].filter((name) => typeof inputOf(node, name) === 'string');
  if (own.length > 0) {
    return own;
  }
  return TEXT_INPUTS.filter((name) => {
    const value = inputOf(node, name);
    return typeof value === 'string' || isLink(value);
  });
}

/** Graphs without a sampler of ComfyUI's kind: nodes that call a service, and all-in-one nodes. */
function withoutSampler(graph: Graph, role: Role): Spot[] {
  const spots = (fits: (node: Node, input: string) => boolean): Spot[] =>
    Object.entries(graph).flatMap(([id, node]) =>
      Object.keys(node.inputs).flatMap((input) =>
        typeof inputOf(node, input) === 'string' && fits(node, input) ? [{ node: id, input }] : [],
      ),
    );
  const named = spots((_node, input) => (ROLE_INPUTS[role] as readonly string[]).includes(input));
  if (named.length > 0 || role === 'negative') {
    return named;
  }
  const prompts = spots((_node, input) => input === 'prompt');
  return prompts.length > 0
    ? prompts
    : spots((node, input) => /textencode/i.test(node.class_type) && TEXT_INPUTS.includes(input));
}

const isPassage = (name: string): boolean => PASSES.test(name);

const linksOf = (node: Node, names: readonly string[]): { id: string; slot: number }[] =>
  names.flatMap((name) => {
    const value = inputOf(node, name);
    return isLink(value) ? [{ id: value[0], slot: value[1] }] : [];
  });
