import { inputOf, isLink, type Node } from '../graph.ts';

/** Classifies a node's inputs for conditioning and texts by their names, because a graph in API format has no types. */

export type Role = 'positive' | 'negative';
export const ROLES = ['positive', 'negative'] as const;

/** A link into a node: `input` of this node receives output `slot` of node `from`. */
export type Link = { input: string; from: string; slot: number };

/** Samplers, and guiders that a sampler uses. */
const SAMPLES = /sampler|guider|detailer|ultimatesdupscale/i;
/** Nodes that only select or upscale, and nodes that pack conditioning into a pipe or unpack it. */
const SAMPLES_NOT = /select|config|upsampler|^(?:to|from|edit|basic)\w*pipe/i;
export const isSampler = (node: Node): boolean => SAMPLES.test(node.class_type) && !SAMPLES_NOT.test(node.class_type);

/** The inputs of a node that have to do with conditioning. */
export type Intake = {
  /** Links of one role: `positive`, `neg_conditioning`, `base_negative`. */
  roles: Record<Role, Link[]>;
  /** Links that carry conditioning of either role: `conditioning`, `conditioning_to`, the inputs of a switch. */
  neutral: Link[];
  /** Links that carry a bundle, including the conditioning of both roles: `basic_pipe`, `base_ctx`. */
  bundles: Link[];
  /** Inputs for a text of one role: `positive`, `negative_prompt`. */
  roleTexts: Record<Role, string[]>;
  /** Inputs for a text without a role: `text`, `clip_l`. */
  texts: string[];
  /** Whether some input may take a text or conditioning under an unknown name. */
  isTextual: boolean;
  /** Whether a link brings conditioning whose role depends on the class. */
  isMixed: boolean;
};

/** Input names of text encoders. CLIPTextEncode has one; encoders with several language models have several. */
export const TEXT_INPUTS: readonly string[] = (
  'text prompt user_prompt text_g text_l clip_l clip_g t5xxl llama bert mt5xl qwen25_7b tags ' +
  // A wildcard node has the text and its last expansion. A third input selects one of them.
  'wildcard_text populated_text'
).split(' ');

/** Common text inputs of nodes that take both roles. `ROLE_NAMES` covers the others. */
export const ROLE_TEXT_INPUTS: Readonly<Record<Role, readonly string[]>> = {
  positive: ['positive', 'positive_prompt', 'prompt_positive'],
  negative: ['negative', 'negative_prompt', 'prompt_negative'],
};

const AROUND = 'base|refiner|prompt|text|conditioning|cond|embeds?|new|g|l|\\d+';
const named = (names: string): RegExp => new RegExp(`^(?:(?:${AROUND})_)*(?:${names})(?:_(?:${AROUND}))*$`, 'i');
export const ROLE_NAMES: Readonly<Record<Role, RegExp>> = {
  positive: named('positive|pos'),
  negative: named('negative|neg|uncond'),
};
/** Inputs of a switch or a reroute, which passes on one of several values of any type. */
export const SWITCHED = /^any|^input_?\d*$|^value_?\d*$|^\*?$|^on_(?:true|false)$|^(?:tt|ff)_value$/i;
/** Conditioning inputs of nodes that modify conditioning or select one of several. */
const NEUTRAL = new RegExp(`^cond|^(?:original_)?text_embeds|${SWITCHED.source}`, 'i');
/**
 * Inputs of normalized attention guidance (NAG) nodes. Which role of its encoder such a node reads depends on the
 * class.
 */
const MIXED = /^nag_/i;
export const BUNDLES = /(?<!models?_)pipe(?!line)|ctx|^context(?:_\d+)?$|sdxl_tuple|^bus$/i;
const TEXTUAL = /text|prompt|caption|tags|string|wildcard|clip(?!_?vis|_?skip)|cond|positive|negative/i;
/** A text of three or more words. */
const PROSE = /\S\s+\S+\s+\S/;
/** Names of links that carry neither a text nor conditioning. */
const OTHER = /model|vae|clip_?vis|image|pixels|mask|latent|samples|control|audio|video|embeds|unet|lora|noise|sigmas/i;
/** Names of links that carry a number. */
const NUMERIC = /width|height|length|frames|fps|rate|seed|steps|cfg|strength|scale|denoise|size|index|start|end/i;

/** The number of characters tested for prose. */
const PROSE_CHARS = 200;
const isProse = (value: unknown): boolean => typeof value === 'string' && PROSE.test(value.slice(0, PROSE_CHARS));

export function intakeOf(node: Node): Intake {
  const intake: Intake = {
    roles: { positive: [], negative: [] },
    neutral: [],
    bundles: [],
    roleTexts: { positive: [], negative: [] },
    texts: [],
    isTextual: false,
    isMixed: false,
  };
  for (const input of Object.keys(node.inputs)) {
    const value = inputOf(node, input);
    const link = isLink(value) ? { input, from: value[0], slot: value[1] } : null;
    if (link === null && typeof value !== 'string') {
      continue;
    }
    const role = ROLES.find((each) => ROLE_NAMES[each].test(input));
    intake.isTextual ||=
      TEXTUAL.test(input) || (link === null ? isProse(value) : !OTHER.test(input) && !NUMERIC.test(input));
    if (TEXT_INPUTS.includes(input)) {
      intake.texts.push(input);
    } else if (role !== undefined && link === null) {
      intake.roleTexts[role].push(input);
    } else if (link === null) {
      continue;
    } else if (role !== undefined) {
      intake.roles[role].push(link);
    } else if (BUNDLES.test(input)) {
      intake.bundles.push(link);
    } else if (MIXED.test(input)) {
      intake.isMixed = true;
    } else if (NEUTRAL.test(input)) {
      intake.neutral.push(link);
    }
  }
  return intake;
}
