import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, nodeOf, type Node, type Spot } from '../graph.ts';
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
import { holderOf, type Takers } from './sources.ts';

/**
 * Finds the texts that steer a picture, by walking from the samplers against the links: the conditioning of a sampler or guider,
 * through whatever changes it on the way, to the text encoders. A text keeps the role that the sampler's input has.
 */

/** Where a sampler takes conditioning that has no role in its name, by the role that it has there. */
const SAMPLER_INPUTS: Readonly<Record<Role, RegExp>> = {
  positive: /^(?:conditioning|cond_?1?|text_embeds)$/i,
  negative: /^text_embeds$/i,
};
/** Makes nothing of its conditioning: what stands behind it is no prompt. */
const ZEROES = /zeroout/i;
/** Nodes that look for something in a picture, and those that write down what it was made with: none shows what its texts say. */
const SHOWS_NOTHING = /segment|sam\d|dino|detect|florence|caption|interrogat|clipseg|mask|save|show|metadata/i;

/** Language models: they make texts and no pictures. */
const TALKS =
  /^(?!.*(?:image|video|audio|speech|music|banana)).*(?:llm|gpt|gemini|claude|ollama|openai|chat|textgen|transformersgen)/i;
const ENCODES = /textencode/i;
/** The text of a service; `model.prompt` belongs to the model that is chosen. */
const PROMPT = /^(?:\w+\.)*prompt$/;

/** Inputs that take what is looked for, and nodes that may but are not understood, each with the reason as a sentence's end. */
export type Search = { spots: Spot[]; unclear: { node: string; why: string }[] };

export function findPrompts(graph: Graph, takers: Takers): Record<Role, Search> {
  const walk = new Walk(graph);
  const nodes = Object.entries(graph);
  const samplers = nodes.filter(([, node]) => isSampler(node));
  for (const [id] of samplers) {
    walk.begin(id);
  }
  // What takes both roles and gives neither on samples too, whatever its class is called.
  for (const [id] of nodes) {
    const { roles } = walk.intake(id);
    if (takers.has(id) && !walk.reached(id) && ROLES.every((role) => roles[role].length > 0)) {
      walk.begin(id);
    }
  }
  return walk.isEmpty && samplers.length === 0
    ? { positive: withoutSampler(graph, 'positive'), negative: withoutSampler(graph, 'negative') }
    : walk.found();
}

/** The text inputs of a node that conditioning comes from. */
export const textsOf = ({ roleTexts, texts }: Intake, role: Role): string[] =>
  roleTexts[role].length > 0 ? roleTexts[role] : texts;

type Step = { id: string; role: Role };

/** Nodes give the positive conditioning right before the negative one, base before refiner. */
function inUsualOrder(positive: ReadonlySet<number>, negative: ReadonlySet<number>): boolean {
  const after = [...negative].toSorted((left, right) => left - right);
  const before = [...positive].toSorted((left, right) => left - right);
  return before.every((slot, at) => !negative.has(slot) && slot < (after[at] ?? Infinity));
}

class Walk {
  private readonly graph: Graph;
  private readonly intakes = new Map<string, Intake>();
  private readonly seen = new Map<string, Set<Role>>();
  private readonly begun = new Set<string>();
  /** Outputs of nodes that have both roles, by the role they are taken for. */
  private readonly slots = new Map<string, Record<Role, Set<number>>>();
  private readonly searches: Record<Role, Search> = {
    positive: { spots: [], unclear: [] },
    negative: { spots: [], unclear: [] },
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
      this.searches[role].spots.push(...own.map((input) => ({ node: id, input })));
      for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
        this.visit(step, todo);
      }
    }
  }

  found(): Record<Role, Search> {
    for (const [node, { positive, negative }] of this.slots) {
      if (!inUsualOrder(positive, negative)) {
        // It is crossed, or the node is of another kind.
        for (const role of ROLES) {
          this.searches[role].unclear.push({ node, why: 'gives both roles, and not in the usual order' });
        }
      }
    }
    return this.searches;
  }

  private visit({ id, role }: Step, todo: Step[]): void {
    const node = nodeOf(this.graph, id);
    const roles = this.seen.get(id) ?? new Set<Role>();
    // A node is walked through once in each role, however many links lead to it.
    if (node === undefined || roles.has(role)) {
      return;
    }
    this.seen.set(id, roles.add(role));
    if (ZEROES.test(node.class_type)) {
      return;
    }
    const intake = this.intake(id);
    const { spots, unclear } = this.searches[role];
    const texts = textsOf(intake, role);
    const own = intake.roles[role];
    const onward = own.length > 0 ? own : [...intake.neutral, ...intake.bundles];
    const held = texts.length + onward.length > 0 ? null : holderOf(this.graph, id, 'text');
    spots.push(...texts.map((input) => ({ node: id, input })), ...(held === null ? [] : [held]));
    if (intake.isMixed && role === 'negative') {
      unclear.push({ node: id, why: 'has two negative texts' });
    } else if (texts.length + onward.length === 0 && held === null && intake.isTextual) {
      unclear.push({ node: id, why: 'has no input that is known to take it' });
    }
    this.follow(onward, role, todo);
  }

  private follow(links: readonly Link[], role: Role, todo: Step[]): void {
    for (const { from, slot, input } of links) {
      const { roles, roleTexts, bundles } = this.intake(from);
      const hasBoth = ROLES.every((each) => roles[each].length + roleTexts[each].length > 0);
      // An output that is taken for one role by name is one of several; others carry both.
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
 * Graphs that sample nothing themselves: nodes that call a service, and all-in-one nodes. There a text is known only by its name. What a
 * language model is told counts only where it makes nothing for another node to show.
 */
function withoutSampler(graph: Graph, role: Role): Search {
  const detected = new Set(
    Object.values(graph).flatMap((node) => (SHOWS_NOTHING.test(node.class_type) ? sourcesOf(node) : [])),
  );
  const nodes = Object.entries(graph).filter(([, node]) => !SHOWS_NOTHING.test(node.class_type));
  const spots = (fits: (input: string, node: Node, id: string) => boolean): Spot[] =>
    nodes.flatMap(([id, node]) =>
      Object.keys(node.inputs).flatMap((input) =>
        fits(input, node, id) && isText(node, input) ? [{ node: id, input }] : [],
      ),
    );
  const found = [
    spots((input) => ROLE_NAMES[role].test(input)),
    role === 'negative' ? [] : spots((input, node) => PROMPT.test(input) && !TALKS.test(node.class_type)),
    role === 'negative' ? [] : spots((input) => PROMPT.test(input)),
    role === 'negative'
      ? []
      : spots((input, node, id) => TEXT_INPUTS.includes(input) && ENCODES.test(node.class_type) && !detected.has(id)),
  ].find((each) => each.length > 0);
  return { spots: found ?? [], unclear: [] };
}

const isText = (node: Node, input: string): boolean => {
  const value = inputOf(node, input);
  return typeof value === 'string' || isLink(value);
};

const sourcesOf = (node: Node): string[] =>
  Object.values(node.inputs).flatMap((value) => (isLink(value) ? [value[0]] : []));
