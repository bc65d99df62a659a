import type { Graph } from '../../../contract/new-job.ts';
import { inputOf, isLink, mayBeNumber, nodeOf, numberOf, type NodeInput } from '../graph.ts';

/**
 * Finds the literal behind an input. Many graphs keep a prompt, a seed or a size in a separate node (PrimitiveString,
 * PrimitiveInt, a seed node) and link to it.
 */

export type Kind = 'text' | 'number';

/** Input names of nodes that only hold a value. */
const HELD: Record<Kind, readonly string[]> = {
  text: ['value', 'text', 'string', 'prompt', 'positive', 'negative'],
  number: ['value', 'int', 'number', 'float', 'seed', 'noise_seed'],
};
const HELD_SEEDS = ['seed', 'noise_seed'];
/** Nodes that compute a new text from a given one. */
const COMPUTES =
  /llm|gpt|gemini|claude|ollama|openai|chat|caption|interrogat|florence|vlm|vision|generat|enhanc|translat/i;
/** The most links followed. This also ends the search in a graph with a cycle. */
const MAX_HOPS = 32;

export const isLiteral = (value: unknown, kind: Kind): boolean =>
  kind === 'text' ? typeof value === 'string' : numberOf(value) !== null || value === 'random' || mayBeNumber(value);

/** The names of the inputs that use a node's outputs, by the node's id. */
export type InputsUsing = ReadonlyMap<string, ReadonlySet<string>>;

export function inputsUsing(graph: Graph): InputsUsing {
  const users = new Map<string, Set<string>>();
  for (const node of Object.values(graph)) {
    for (const [name, value] of Object.entries(node.inputs)) {
      if (isLink(value)) {
        const names = users.get(value[0]) ?? new Set();
        users.set(value[0], names.add(name));
      }
    }
  }
  return users;
}

/**
 * The literal behind an input, and the input to write to. `plain`: every node in between passes the value on unchanged.
 */
export type Literal = { target: NodeInput; value: unknown; plain: boolean };

/**
 * Follows an input to its literal; null when a node computes it. A node that also feeds inputs outside `names` is not
 * written to, because a new width must not change the height. There the link to the node is replaced.
 */
export function findLiteral(
  graph: Graph,
  users: InputsUsing,
  from: NodeInput,
  kind: Kind,
  names: readonly string[],
): Literal | null {
  const passed = [...names];
  let writable = from;
  let shared = false;
  let plain = true;
  let target = from;
  for (let hops = 0; hops < MAX_HOPS; hops += 1) {
    const value = inputOf(nodeOf(graph, target.node), target.input);
    if (isLiteral(value, kind)) {
      return { target: writable, value, plain };
    }
    const held = isLink(value) ? heldBy(graph, value[0], kind) : null;
    if (!isLink(value) || held === null) {
      return null;
    }
    plain &&= value[1] === 0 && onlyHolds(graph, held) && (!HELD_SEEDS.includes(held.input) || isSeed(names));
    shared ||=
      users
        .get(held.node)
        ?.values()
        .some((name) => !passed.includes(name)) === true;
    writable = shared ? writable : held;
    passed.push(held.input);
    target = held;
  }
  return null;
}

const isSeed = (names: readonly string[]): boolean => HELD_SEEDS.some((name) => names.includes(name));

/** The input of a node that only holds a value; null for any other node. */
export function holderOf(graph: Graph, id: string, kind: Kind): NodeInput | null {
  const held = heldBy(graph, id, kind);
  return held !== null && onlyHolds(graph, held) ? held : null;
}

/** Whether a node returns the value of this input unchanged, judged by its class and its other inputs. */
function onlyHolds(graph: Graph, held: NodeInput): boolean {
  const node = nodeOf(graph, held.node);
  return (
    node !== undefined &&
    !COMPUTES.test(node.class_type) &&
    Object.keys(node.inputs).every((input) => input === held.input || !isLink(inputOf(node, input)))
  );
}

/** The input of a node that holds exactly one value; null for any other node. */
function heldBy(graph: Graph, id: string, kind: Kind): NodeInput | null {
  const node = nodeOf(graph, id);
  const fits = HELD[kind].filter((name) => {
    const value = inputOf(node, name);
    return isLiteral(value, kind) || isLink(value);
  });
  const [input, ...others] = fits;
  return input === undefined || others.length > 0 ? null : { node: id, input };
}
