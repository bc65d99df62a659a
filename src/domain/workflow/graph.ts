import type { Graph } from '../../contract/new-job.ts';
import { pointer } from '../problems.ts';

/** Reads a graph. The client chooses node ids and input names, so only own properties count. */

export type Node = Graph[string];

/** One input of one node. */
export type NodeInput = { node: string; input: string };

/** Makes the JSON pointer of a part of the graph in the request: `pointerOf('3', 'inputs', 'image')`. */
export type RequestPointer = (...path: string[]) => string;

export const pointersIn =
  (base: readonly string[]): RequestPointer =>
  (...path) =>
    pointer([...base, ...path]);

export const nodeOf = (graph: Graph, id: string): Node | undefined =>
  Object.hasOwn(graph, id) ? graph[id] : undefined;

/**
 * An input's value as ComfyUI reads it: it unwraps `{"__value__": x}`, which lets a list be a value instead of a link.
 */
export function inputOf(node: Node | undefined, name: string): unknown {
  const value = node !== undefined && Object.hasOwn(node.inputs, name) ? node.inputs[name] : undefined;
  return unwrapped(value);
}

export const WRAPPER = '__value__';

const unwrapped = (value: unknown): unknown =>
  typeof value === 'object' && value !== null
    ? (Object.getOwnPropertyDescriptor(value, WRAPPER)?.value ?? value)
    : value;

/** A link, by the rule ComfyUI itself uses: a list of a string (a node's id) and a number (one of its outputs). */
export const isLink = (value: unknown): value is [string, number] =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'number';

/** Each part begins with a character that the part before cannot contain, so that matching takes one pass. */
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
/** A double written without an exponent has at most 1,077 digits. Numbers in a graph are far shorter. */
const MAX_NUMBER_CHARS = 256;

/**
 * Reads a literal as a number. ComfyUI converts numbers written as text, so this does too. Null when the value is not a
 * number, or is text longer than `MAX_NUMBER_CHARS`. A number above 2^53 is rounded.
 */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number' || typeof value === 'bigint') {
    return Number(value);
  }
  if (typeof value !== 'string' || value.length > MAX_NUMBER_CHARS) {
    return null;
  }
  // Python's int() takes underscores and blanks.
  const text = value.trim().replaceAll('_', '');
  return NUMBER.test(text) ? Number(text) : null;
}

/** The characters of numbers, with digits of any script. */
const NUMERIC = /^[\s\p{Nd}_+.e-]+$/iu;
const DIGIT = /\p{Nd}/u;

/**
 * Whether text that `numberOf` cannot read may be a number to Python: digits of another script, or very many digits.
 */
export const mayBeNumber = (value: unknown): boolean =>
  typeof value === 'string' &&
  numberOf(value) === null &&
  NUMERIC.test(value.slice(0, MAX_NUMBER_CHARS)) &&
  (value.length > MAX_NUMBER_CHARS || DIGIT.test(value));

/** Names a node in a message: `6 (CLIPTextEncode)`. */
export const nodeName = (graph: Graph, id: string): string => `${id} (${nodeOf(graph, id)?.class_type ?? 'missing'})`;
