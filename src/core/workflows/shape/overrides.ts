import type { ResolvedOverride, ResolvedSeed } from '../../../contract/job.ts';
import type { NewSeed } from '../../../providers/seeds.ts';
import { pointer, quote } from '../../problems.ts';
import { inputOf, nodeName, nodeOf, numberOf, type Node, type Spot } from '../graph.ts';
import type { Draft } from './draft.ts';
import { intakeOf, ROLE_TEXT_INPUTS, TEXT_INPUTS, type Role } from './conditioning.ts';
import { SEED_INPUTS, seedSpots, stepSpots } from './numbers.ts';
import { findPrompts, textsOf, type Search } from './prompts.ts';
import { drawn, isRandom, portable } from './seeds.ts';
import { findSizes, HEIGHT_INPUTS, LENGTH_INPUTS, WIDTH_INPUTS } from './sizes.ts';
import { sourceOf, takersOf, type Kind, type Source, type Takers } from './sources.ts';

/** A value for an input that the gateway finds in the graph, or, with `node`, for an input of that node. */
export type Override<T> = T | { value: T; node: string };

/** Numbers may be given as text of digits; the graph gets numbers. */
export type Overrides = {
  prompt?: Override<string> | undefined;
  negative_prompt?: Override<string> | undefined;
  seed?: Override<number | bigint | string> | undefined;
  width?: Override<number | string> | undefined;
  height?: Override<number | string> | undefined;
  length?: Override<number | string> | undefined;
  steps?: Override<number | string> | undefined;
};
export type Field = keyof Overrides;

/**
 * Says how to find the inputs of a field. `names`: the input names. `all`: set every input found; otherwise there must
 * be exactly one, or all must have the same value now. `role`: the field is a prompt of this role.
 */
type Rule = {
  kind: Kind;
  names: readonly string[];
  find: (graph: Draft['graph'], takers: Takers) => Search;
  all?: true;
  role?: Role;
};

const prompt = (role: Role): Rule => ({
  kind: 'text',
  names: [...TEXT_INPUTS, ...ROLE_TEXT_INPUTS[role]],
  find: (graph, takers) => findPrompts(graph, takers)[role],
  role,
});
const size = (names: readonly string[]): Rule => ({
  kind: 'number',
  names,
  find: (graph) => findSizes(graph, names),
});
const clear = (spots: Spot[]): Search => ({ spots, unclear: [] });

const RULES: Record<Field, Rule> = {
  prompt: prompt('positive'),
  negative_prompt: prompt('negative'),
  seed: { kind: 'number', names: SEED_INPUTS, find: (graph) => clear(seedSpots(graph)), all: true },
  width: size(WIDTH_INPUTS),
  height: size(HEIGHT_INPUTS),
  length: size(LENGTH_INPUTS),
  steps: { kind: 'number', names: ['steps'], find: (graph) => clear(stepSpots(graph)) },
};
export const FIELDS = Object.keys(RULES).filter((name): name is Field => Object.hasOwn(RULES, name));

/** The most nodes that a message names. */
const MAX_NAMED = 8;

export type Overridden = { overrides: ResolvedOverride[]; seeds: ResolvedSeed[] };

/** Applies the overrides. An override whose input is missing or ambiguous is an issue that names the candidates. */
export function override(draft: Draft, overrides: Overrides, newSeed: NewSeed): Overridden {
  const done: Overridden = { overrides: [], seeds: [] };
  const takers = takersOf(draft.graph);
  for (const field of FIELDS) {
    const wish = overrides[field];
    if (wish === undefined) {
      continue;
    }
    const { value, node } = typeof wish === 'object' ? wish : { value: wish, node: null };
    const spots = node === null ? found(draft, takers, field) : named(draft, takers, field, node);
    const written = field === 'seed' ? drawn(value, newSeed) : RULES[field].kind === 'number' ? Number(value) : value;
    for (const spot of spots) {
      draft.set(spot, written, () => pointer(['overrides', field]));
      done.overrides.push({ field, ...spot });
      if (field === 'seed') {
        done.seeds.push({ ...spot, value: portable(written), random: isRandom(value) });
      }
    }
  }
  return done;
}

/**
 * The inputs of the named node for this field. A link to a computed value is replaced, because the client named this
 * node.
 */
function named(draft: Draft, takers: Takers, field: Field, id: string): Spot[] {
  const { kind, names, role } = RULES[field];
  const at = pointer(['overrides', field, 'node']);
  const node = nodeOf(draft.graph, id);
  if (node === undefined) {
    draft.faults.add('node_missing', () => ({ pointer: at, detail: `The workflow has no node ${quote(id)}.` }));
    return [];
  }
  const has = (input: string): boolean => Object.hasOwn(node.inputs, input);
  const plain = (spot: Spot): Source | null => {
    const source = sourceOf(draft.graph, takers, spot, kind, names);
    return source?.plain === true ? source : null;
  };
  const inputs =
    role === undefined ? names.filter(has) : textsAt(node, role, (input) => plain({ node: id, input }) !== null);
  const taken = inputs.length > 0 ? inputs : ['value', 'string'].filter(has).slice(0, 1);
  if (taken.length === 0) {
    draft.faults.add('override_not_found', () => ({
      pointer: at,
      detail: `Node ${nodeName(draft.graph, id)} has no input for ${field}. Use params instead.`,
    }));
  }
  return distinct(
    taken.map((input) => {
      const spot = { node: id, input };
      return plain(spot)?.spot ?? spot;
    }),
  );
}

/** The text inputs of a node for this role: inputs with a text, else links to a node that only holds a text. */
function textsAt(node: Node, role: Role, isHeld: (input: string) => boolean): string[] {
  const intake = intakeOf(node);
  const texts = textsOf(intake, role);
  return texts.length > 0 ? texts : intake.roles[role].map(({ input }) => input).filter(isHeld);
}

/** The inputs for this field, found by following the links of the graph. */
function found(draft: Draft, takers: Takers, field: Field): Spot[] {
  const { graph } = draft;
  const { kind, names, find, all, role } = RULES[field];
  const refuse = (code: 'override_not_found' | 'override_ambiguous', detail: string): Spot[] => {
    draft.faults.add(code, () => ({
      pointer: pointer(['overrides', field]),
      detail: `${detail}. Name a node: {"value": …, "node": "…"}.`,
    }));
    return [];
  };
  const { spots, unclear } = find(graph, takers);
  const [first] = unclear;
  if (first !== undefined) {
    const others = spots.length === 0 ? '' : `, and to ${list(draft, spots)}`;
    return refuse(
      spots.length === 0 ? 'override_not_found' : 'override_ambiguous',
      `The ${field} leads to node ${nodeName(graph, first.node)}, which ${first.why}${others}`,
    );
  }
  if (spots.length === 0) {
    return refuse('override_not_found', `The workflow has no input for ${field}`);
  }
  const sources = spots.map((spot) => sourceOf(graph, takers, spot, kind, names));
  const computed = spots.filter((_spot, at) => sources[at]?.plain !== true);
  if (computed.length > 0) {
    return refuse('override_ambiguous', `Other nodes compute the ${field} for ${list(draft, computed)}`);
  }
  const targets = distinct(sources.flatMap((source) => source?.spot ?? []));
  if (all !== true && !areAlike(sources)) {
    return refuse(
      'override_ambiguous',
      `Several inputs take the ${field}, with different values: ${list(draft, targets)}`,
    );
  }
  if (field === 'steps' && spots.some((spot) => isShare(graph, spot))) {
    return refuse('override_ambiguous', `The steps are split over ${list(draft, spots)} (start_at_step, end_at_step)`);
  }
  if (role === 'negative' && feedsPrompt(draft, takers, targets)) {
    return refuse(
      'override_ambiguous',
      `The same text is both the prompt and the negative prompt, at ${list(draft, targets)}`,
    );
  }
  return targets;
}

/**
 * Whether all nodes have the same values now. Literals are compared directly: a text that feeds many nodes is stored
 * once in memory, so writing it for each comparison would be expensive.
 */
function areAlike(sources: readonly (Source | null)[]): boolean {
  const values = new Map<string, Set<unknown>>();
  for (const source of sources) {
    if (source !== null) {
      const held = values.get(source.spot.node) ?? new Set();
      values.set(source.spot.node, held.add(source.value));
    }
  }
  const [first, ...others] = values.values();
  return first === undefined || others.every((each) => each.symmetricDifference(first).size === 0);
}

/**
 * Whether a sampler runs only a part of its steps. Changing their number would change where the next sampler begins.
 */
function isShare(graph: Draft['graph'], spot: Spot): boolean {
  const node = nodeOf(graph, spot.node);
  const [start, end, steps] = ['start_at_step', 'end_at_step', 'steps'].map((name) => numberOf(inputOf(node, name)));
  return (start ?? 0) > 0 || (typeof end === 'number' && typeof steps === 'number' && end < steps);
}

function feedsPrompt(draft: Draft, takers: Takers, spots: readonly Spot[]): boolean {
  const { kind, names, find } = RULES.prompt;
  const positive = find(draft.graph, takers).spots.flatMap(
    (spot) => sourceOf(draft.graph, takers, spot, kind, names)?.spot ?? [],
  );
  const fed = new Set(positive.map(keyOf));
  return spots.some((spot) => fed.has(keyOf(spot)));
}

const distinct = (spots: readonly Spot[]): Spot[] => [...new Map(spots.map((spot) => [keyOf(spot), spot])).values()];

const keyOf = ({ node, input }: Spot): string => JSON.stringify([node, input]);

const list = (draft: Draft, spots: readonly Spot[]): string => {
  const ids = [...new Set(spots.map(({ node }) => node))];
  const names = ids.slice(0, MAX_NAMED).map((id) => nodeName(draft.graph, id));
  return `${ids.length > 1 ? 'nodes' : 'node'} ${names.join(', ')}${ids.length > MAX_NAMED ? ', …' : ''}`;
};
