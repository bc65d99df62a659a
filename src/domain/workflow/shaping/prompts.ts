import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, nodeOf, type Node, type NodeInput } from '../graph.ts';
import {
  intakeOf,
  isSampler,
  ROLE_NAMES,
  ROLES,
  TEXT_INPUTS,
  type Intake,
  type Link,
  type Role,
} from './conditioning.ts';
import { holderOf, type InputsUsing } from './literals.ts';

/**
 * Finds the prompts of a graph. It follows links backwards from the samplers and guiders, through nodes that modify
 * conditioning, to the text encoders. A text has the role of the sampler's input from which it was reached.
 */

/** Sampler inputs for conditioning whose names do not say the role, by the role that they have there. */
const SAMPLER_INPUTS: Readonly<Record<Role, RegExp>> = {
  positive: /^(?:conditioning|cond_?1?|text_embeds)$/i,
  negative: /^text_embeds$/i,
};
/** Nodes that zero their conditioning. A text before such a node is not a prompt. */
const ZEROES = /zeroout/i;
/** Nodes that detect something in an image or save metadata. Their texts are not prompts. */
const SHOWS_NOTHING = /segment|sam\d|dino|detect|florence|caption|interrogat|clipseg|mask|save|show|metadata/i;

/** Language models, which make texts instead of images. */
const TALKS =
  /^(?!.*(?:image|video|audio|speech|music|banana)).*(?:llm|gpt|gemini|claude|ollama|openai|chat|textgen|transformersgen)/i;
const ENCODES = /textencode/i;
/** The prompt input of an API node; `model.prompt` belongs to the selected model. */
const PROMPT = /^(?:\w+\.)*prompt$/;

/**
 * The inputs found, and the nodes that may take the value but are unclear. `why` completes a sentence about the node.
 */
export type Search = { inputs: NodeInput[]; unclear: { node: string; why: string }[] };

export function findPrompts(graph: Graph, users: InputsUsing): Record<Role, Search> {
  const walk = new PromptSearch(graph);
  const nodes = Object.entries(graph);
  const samplers = nodes.filter(([, node]) => isSampler(node));
  for (const [id] of samplers) {
    walk.begin(id);
  }
  // A node that takes both roles and passes neither on is a sampler too, even under an unknown class name.
  for (const [id] of nodes) {
    const { roles } = walk.intake(id);
    if (users.has(id) && !walk.reached(id) && ROLES.every((role) => roles[role].length > 0)) {
      walk.begin(id);
    }
  }
  return walk.isEmpty && samplers.length === 0
    ? { positive: withoutSampler(graph, 'positive'), negative: withoutSampler(graph, 'negative') }
    : walk.found();
}

/** The text inputs of a node that produces conditioning. */
export const textsOf = ({ roleTexts, texts }: Intake, role: Role): string[] =>
  roleTexts[role].length > 0 ? roleTexts[role] : texts;

type Step = { id: string; role: Role };

/** Whether each positive output comes before its negative one, as in all known nodes. */
function inDefaultOrder(positive: ReadonlySet<number>, negative: ReadonlySet<number>): boolean {
  const after = [...negative].toSorted((left, right) => left - right);
  const before = [...positive].toSorted((left, right) => left - right);
  return before.every((slot, at) => !negative.has(slot) && slot < (after[at] ?? Infinity));
}

class PromptSearch {
  private readonly graph: Graph;
  private readonly intakes = new Map<string, Intake>();
  private readonly seen = new Map<string, Set<Role>>();
  private readonly begun = new Set<string>();
  /** Outputs of nodes with both roles, by the role of the input that uses them. */
  private readonly slots = new Map<string, Record<Role, Set<number>>>();
  private readonly searches: Record<Role, Search> = {
    positive: { inputs: [], unclear: [] },
    negative: { inputs: [], unclear: [] },
  };

  constructor(graph: Graph) {
    this.graph = graph;
  }

  get isEmpty(): boolean {
    return this.begun.size === 0;
  }

  reached = (id: string): boolean => this.seen.has(id) || this.begun.has(id);

  intake(id: string): Intake {
    const known = this.intakes.get(id) ?? intakeOf(nodeOf(this.graph, id) ?? { class_type: '', inputs: {} });
    this.intakes.set(id, known);
    return known;
  }

  /** Walks from a sampler, in both roles. */
  begin(id: string): void {
    this.begun.add(id);
    const { roles, neutral, bundles, roleTexts, texts } = this.intake(id);
    const links = [...roles.positive, ...roles.negative, ...neutral, ...bundles];
    for (const role of ROLES) {
      const unnamed = neutral.filter(({ input }) => SAMPLER_INPUTS[role].test(input));
      const todo: Step[] = [];
      this.follow(roles[role].length > 0 ? roles[role] : [...unnamed, ...bundles], role, todo);
      // A sampler that encodes its texts itself.
      const own = roleTexts[role].length > 0 || links.length > 0 || role === 'negative' ? roleTexts[role] : texts;
      this.searches[role].inputs.push(...own.map((input) => ({ node: id, input })));
      for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
        this.visit(step, todo);
      }
    }
  }

  found(): Record<Role, Search> {
    for (const [node, { positive, negative }] of this.slots) {
      if (!inDefaultOrder(positive, negative)) {
        // The links are crossed, or the node works in another way.
        for (const role of ROLES) {
          this.searches[role].unclear.push({ node, why: 'returns both roles in an unexpected order' });
        }
      }
    }
    return this.searches;
  }

  private visit({ id, role }: Step, todo: Step[]): void {
    const node = nodeOf(this.graph, id);
    const roles = this.seen.get(id) ?? new Set<Role>();
    // Each node is visited once per role, even when many links lead to it.
    if (node === undefined || roles.has(role)) {
      return;
    }
    this.seen.set(id, roles.add(role));
    if (ZEROES.test(node.class_type)) {
      return;
    }
    const intake = this.intake(id);
    const { inputs, unclear } = this.searches[role];
    const texts = textsOf(intake, role);
    const own = intake.roles[role];
    const onward = own.length > 0 ? own : [...intake.neutral, ...intake.bundles];
    const held = texts.length + onward.length > 0 ? null : holderOf(this.graph, id, 'text');
    inputs.push(...texts.map((input) => ({ node: id, input })), ...(held === null ? [] : [held]));
    if (intake.isMixed && role === 'negative') {
      unclear.push({ node: id, why: 'has two negative texts' });
    } else if (texts.length + onward.length === 0 && held === null && intake.isTextual) {
      unclear.push({ node: id, why: 'has no known input for it' });
    }
    this.follow(onward, role, todo);
  }

  private follow(links: readonly Link[], role: Role, todo: Step[]): void {
    for (const { from, slot, input } of links) {
      const { roles, roleTexts, bundles } = this.intake(from);
      const hasBoth = ROLES.every((each) => roles[each].length + roleTexts[each].length > 0);
      // An input named after a role uses one of several outputs. Other inputs use an output that carries both roles.
      if ((hasBoth || bundles.length > 0) && ROLE_NAMES[role].test(input)) {
        const slots = this.slots.get(from) ?? { positive: new Set(), negative: new Set() };
        slots[role].add(slot);
        this.slots.set(from, slots);
      }
      todo.push({ id: from, role });
    }
  }
}

/**
 * For graphs without a sampler: API nodes and all-in-one nodes. The name of the input alone says whether a text is a
 * prompt. The prompt of a language model counts only when no other node has a prompt.
 */
function withoutSampler(graph: Graph, role: Role): Search {
  const detected = new Set(
    Object.values(graph).flatMap((node) => (SHOWS_NOTHING.test(node.class_type) ? sourcesOf(node) : [])),
  );
  const nodes = Object.entries(graph).filter(([, node]) => !SHOWS_NOTHING.test(node.class_type));
  const targets = (fits: (input: string, node: Node, id: string) => boolean): NodeInput[] =>
    nodes.flatMap(([id, node]) =>
      Object.keys(node.inputs).flatMap((input) =>
        fits(input, node, id) && isText(node, input) ? [{ node: id, input }] : [],
      ),
    );
  const found = [
    targets((input) => ROLE_NAMES[role].test(input)),
    role === 'negative' ? [] : targets((input, node) => PROMPT.test(input) && !TALKS.test(node.class_type)),
    role === 'negative' ? [] : targets((input) => PROMPT.test(input)),
    role === 'negative'
      ? []
      : targets((input, node, id) => TEXT_INPUTS.includes(input) && ENCODES.test(node.class_type) && !detected.has(id)),
  ].find((each) => each.length > 0);
  return { inputs: found ?? [], unclear: [] };
}

const isText = (node: Node, input: string): boolean => {
  const value = inputOf(node, input);
  return typeof value === 'string' || isLink(value);
};

const sourcesOf = (node: Node): string[] =>
  Object.values(node.inputs).flatMap((value) => (isLink(value) ? [value[0]] : []));
