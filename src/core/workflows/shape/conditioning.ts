import { inputOf, isLink, type Node } from '../graph.ts';

/** How a node takes conditioning and texts, read off the names of its inputs: a graph in API format has no types. */

export type Role = 'positive' | 'negative';
export const ROLES = ['positive', 'negative'] as const;

/** A link as the node that takes it sees it: `input` of this node takes output `slot` of node `from`. */
export type Link = { input: string; from: string; slot: number };

/** Nodes that sample, and nodes that guide one that does. */
const SAMPLES = /sampler|guider|detailer|ultimatesdupscale/i;
/** Nodes that only choose or enlarge something, and those that put conditioning into a bundle or take it out. */
const SAMPLES_NOT = /select|config|upsampler|^(?:to|from|edit|basic)\w*pipe/i;
export const isSampler = (node: Node): boolean => SAMPLES.test(node.class_type) && !SAMPLES_NOT.test(node.class_type);

/** What of a node's inputs has to do with conditioning. */
export type Intake = {
  /** Links of one role: `positive`, `neg_conditioning`, `base_negative`. */
  roles: Record<Role, Link[]>;
  /** Links that carry conditioning of either role: `conditioning`, `conditioning_to`, the inputs of a switch. */
  neutral: Link[];
  /** Links to many things in one, conditioning of both roles among them: `basic_pipe`, `base_ctx`. */
  bundles: Link[];
  /** Inputs that hold or take a text of one role: `positive`, `negative_prompt`. */
  roleTexts: Record<Role, string[]>;
  /** Inputs that hold or take a text: `text`, `clip_l`. */
  texts: string[];
  /** Whether some input may have to do with texts or conditioning, under whatever name. */
  isTextual: boolean;
  /** Whether a link brings conditioning whose role depends on the class. */
  isMixed: boolean;
};

/** What encoders call a text: one for CLIPTextEncode, several for encoders of more than one language model. */
export const TEXT_INPUTS: readonly string[] = (
  'text prompt user_prompt text_g text_l clip_l clip_g t5xxl llama bert mt5xl qwen25_7b tags ' +
  // What a node with wildcards is given, and what it last made of that: one of them counts, by a third input.
  'wildcard_text populated_text'
).split(' ');

/** What the texts of nodes that take both roles are mostly called; those of others are known by `ROLE_NAMES`. */
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
/** The inputs of a node that hands on one of several things, or whatever it is given. */
export const SWITCHED = /^any|^input_?\d*$|^value_?\d*$|^\*?$|^on_(?:true|false)$|^(?:tt|ff)_value$/i;
/** Inputs through which conditioning passes a node that changes it or chooses one of several. */
const NEUTRAL = new RegExp(`^cond|^(?:original_)?text_embeds|${SWITCHED.source}`, 'i');
/** One of the two texts of a normalized-attention guidance node; which of its encoder's roles it reads depends on the class. */
const MIXED = /^nag_/i;
export const BUNDLES = /(?<!models?_)pipe(?!line)|ctx|^context(?:_\d+)?$|sdxl_tuple|^bus$/i;
const TEXTUAL = /text|prompt|caption|tags|string|wildcard|clip(?!_?vis|_?skip)|cond|positive|negative/i;
/** A text of three words and more, whatever the input that holds it is called. */
const PROSE = /\S\s+\S+\s+\S/;
/** Links that bring neither a text nor conditioning. */
const OTHER = /model|vae|clip_?vis|image|pixels|mask|latent|samples|control|audio|video|embeds|unet|lora|noise|sigmas/i;
/** Links that bring a number. */
const NUMERIC = /width|height|length|frames|fps|rate|seed|steps|cfg|strength|scale|denoise|size|index|start|end/i;

/** How much of a text shows whether it is prose. */
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
