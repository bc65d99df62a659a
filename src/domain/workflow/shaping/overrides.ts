import type { ResolvedOverride, ResolvedSeed } from '../../../contract/job.ts';
import type { NewSeed } from '../../../lib/seeds.ts';
import { pointer, quote } from '../../problems.ts';
import { inputOf, nodeName, nodeOf, numberOf, type Node, type NodeInput } from '../graph.ts';
import type { WorkingCopy } from './working-copy.ts';
import { intakeOf, ROLE_TEXT_INPUTS, TEXT_INPUTS, type Role } from './conditioning.ts';
import { SEED_INPUTS, seedInputs, stepInputs } from './numbers.ts';
import { findPrompts, textsOf, type Search } from './prompts.ts';
import { drawn, isRandom, portable } from './seeds.ts';
import { findSizes, HEIGHT_INPUTS, LENGTH_INPUTS, WIDTH_INPUTS } from './sizes.ts';
import { findLiteral, inputsUsing, type Kind, type Literal, type InputsUsing } from './literals.ts';

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
  find: (graph: WorkingCopy['graph'], users: InputsUsing) => Search;
  all?: true;
  role?: Role;
};

const prompt = (role: Role): Rule => ({
  kind: 'text',
  names: [...TEXT_INPUTS, ...ROLE_TEXT_INPUTS[role]],
  find: (graph, users) => findPrompts(graph, users)[role],
  role,
});
const size = (names: readonly string[]): Rule => ({
  kind: 'number',
  names,
  find: (graph) => findSizes(graph, names),
});
const clear = (inputs: NodeInput[]): Search => ({ inputs, unclear: [] });

const RULES: Record<Field, Rule> = {
  prompt: prompt('positive'),
  negative_prompt: prompt('negative'),
  seed: { kind: 'number', names: SEED_INPUTS, find: (graph) => clear(seedInputs(graph)), all: true },
  width: size(WIDTH_INPUTS),
  height: size(HEIGHT_INPUTS),
  length: size(LENGTH_INPUTS),
  steps: { kind: 'number', names: ['steps'], find: (graph) => clear(stepInputs(graph)) },
};
export const FIELDS = Object.keys(RULES).filter((name): name is Field => Object.hasOwn(RULES, name));

/** The most nodes that a message names. */
const MAX_NAMED = 8;

export type Overridden = { overrides: ResolvedOverride[]; seeds: ResolvedSeed[] };

/** Applies the overrides. An override whose input is missing or ambiguous is an issue that names the candidates. */
export function override(copy: WorkingCopy, overrides: Overrides, newSeed: NewSeed): Overridden {
  const done: Overridden = { overrides: [], seeds: [] };
  const users = inputsUsing(copy.graph);
  for (const field of FIELDS) {
    const wish = overrides[field];
    if (wish === undefined) {
      continue;
    }
    const { value, node } = typeof wish === 'object' ? wish : { value: wish, node: null };
    const targets = node === null ? found(copy, users, field) : named(copy, users, field, node);
    const written = field === 'seed' ? drawn(value, newSeed) : RULES[field].kind === 'number' ? Number(value) : value;
    for (const target of targets) {
      copy.set(target, written, () => pointer(['overrides', field]));
      done.overrides.push({ field, ...target });
      if (field === 'seed') {
        done.seeds.push({ ...target, value: portable(written), random: isRandom(value) });
      }
    }
  }
  return done;
}

/**
 * The inputs of the named node for this field. A link to a computed value is replaced, because the client named this
 * node.
 */
function named(copy: WorkingCopy, users: InputsUsing, field: Field, id: string): NodeInput[] {
  const { kind, names, role } = RULES[field];
  const at = pointer(['overrides', field, 'node']);
  const node = nodeOf(copy.graph, id);
  if (node === undefined) {
    copy.issues.add('node_missing', () => ({ pointer: at, detail: `The workflow has no node ${quote(id)}.` }));
    return [];
  }
  const has = (input: string): boolean => Object.hasOwn(node.inputs, input);
  const plain = (target: NodeInput): Literal | null => {
    const source = findLiteral(copy.graph, users, target, kind, names);
    return source?.plain === true ? source : null;
  };
  const inputs =
    role === undefined ? names.filter(has) : textsAt(node, role, (input) => plain({ node: id, input }) !== null);
  const taken = inputs.length > 0 ? inputs : ['value', 'string'].filter(has).slice(0, 1);
  if (taken.length === 0) {
    copy.issues.add('override_not_found', () => ({
      pointer: at,
      detail: `Node ${nodeName(copy.graph, id)} has no input for ${field}. Use params instead.`,
    }));
  }
  return distinct(
    taken.map((input) => {
      const target = { node: id, input };
      return plain(target)?.target ?? target;
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
function found(copy: WorkingCopy, users: InputsUsing, field: Field): NodeInput[] {
  const { graph } = copy;
  const { kind, names, find, all, role } = RULES[field];
  const refuse = (code: 'override_not_found' | 'override_ambiguous', detail: string): NodeInput[] => {
    copy.issues.add(code, () => ({
      pointer: pointer(['overrides', field]),
      detail: `${detail}. Name a node: {"value": …, "node": "…"}.`,
    }));
    return [];
  };
  const { inputs, unclear } = find(graph, users);
  const [first] = unclear;
  if (first !== undefined) {
    const others = inputs.length === 0 ? '' : `, and to ${list(copy, inputs)}`;
    return refuse(
      inputs.length === 0 ? 'override_not_found' : 'override_ambiguous',
      `The ${field} leads to node ${nodeName(graph, first.node)}, which ${first.why}${others}`,
    );
  }
  if (inputs.length === 0) {
    return refuse('override_not_found', `The workflow has no input for ${field}`);
  }
  const literals = inputs.map((target) => findLiteral(graph, users, target, kind, names));
  const computed = inputs.filter((_input, at) => literals[at]?.plain !== true);
  if (computed.length > 0) {
    return refuse('override_ambiguous', `Other nodes compute the ${field} for ${list(copy, computed)}`);
  }
  const targets = distinct(literals.flatMap((literal) => literal?.target ?? []));
  if (all !== true && !areAlike(literals)) {
    return refuse(
      'override_ambiguous',
      `Several inputs take the ${field}, with different values: ${list(copy, targets)}`,
    );
  }
  if (field === 'steps' && inputs.some((target) => isShare(graph, target))) {
    return refuse('override_ambiguous', `The steps are split over ${list(copy, inputs)} (start_at_step, end_at_step)`);
  }
  if (role === 'negative' && feedsPrompt(copy, users, targets)) {
    return refuse(
      'override_ambiguous',
      `The same text is both the prompt and the negative prompt, at ${list(copy, targets)}`,
    );
  }
  return targets;
}

/**
 * Whether all nodes have the same values now. Literals are compared directly: a text that feeds many nodes is stored
 * once in memory, so writing it for each comparison would be expensive.
 */
function areAlike(literals: readonly (Literal | null)[]): boolean {
  const values = new Map<string, Set<unknown>>();
  for (const literal of literals) {
    if (literal !== null) {
      const held = values.get(literal.target.node) ?? new Set();
      values.set(literal.target.node, held.add(literal.value));
    }
  }
  const [first, ...others] = values.values();
  return first === undefined || others.every((each) => each.symmetricDifference(first).size === 0);
}

/**
 * Whether a sampler runs only a part of its steps. Changing their number would change where the next sampler begins.
 */
function isShare(graph: WorkingCopy['graph'], target: NodeInput): boolean {
  const node = nodeOf(graph, target.node);
  const [start, end, steps] = ['start_at_step', 'end_at_step', 'steps'].map((name) => numberOf(inputOf(node, name)));
  return (start ?? 0) > 0 || (typeof end === 'number' && typeof steps === 'number' && end < steps);
}

function feedsPrompt(copy: WorkingCopy, users: InputsUsing, targets: readonly NodeInput[]): boolean {
  const { kind, names, find } = RULES.prompt;
  const positive = find(copy.graph, users).inputs.flatMap(
    (target) => findLiteral(copy.graph, users, target, kind, names)?.target ?? [],
  );
  const fed = new Set(positive.map(keyOf));
  return targets.some((target) => fed.has(keyOf(target)));
}

const distinct = (targets: readonly NodeInput[]): NodeInput[] => [
  ...new Map(targets.map((target) => [keyOf(target), target])).values(),
];

const keyOf = ({ node, input }: NodeInput): string => JSON.stringify([node, input]);

const list = (copy: WorkingCopy, targets: readonly NodeInput[]): string => {
  const ids = [...new Set(targets.map(({ node }) => node))];
  const names = ids.slice(0, MAX_NAMED).map((id) => nodeName(copy.graph, id));
  return `${ids.length > 1 ? 'nodes' : 'node'} ${names.join(', ')}${ids.length > MAX_NAMED ? ', …' : ''}`;
};
