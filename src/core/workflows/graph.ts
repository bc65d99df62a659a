import type { Graph } from '../../contract/new-job.ts';
import { pointer } from '../problems.ts';

/** How the rules read a graph. Node ids and input names are the client's: only own properties count. */

export type Node = Graph[string];

/** One input of one node. */
export type Spot = { node: string; input: string };

/** Where a part of the graph stands in the request, as a JSON pointer: `place('3', 'inputs', 'image')`. */
export type Place = (...path: string[]) => string;

export const placeIn =
  (base: readonly string[]): Place =>
  (...path) =>
    pointer([...base, ...path]);

export const nodeOf = (graph: Graph, id: string): Node | undefined =>
  Object.hasOwn(graph, id) ? graph[id] : undefined;

/** An input's value as ComfyUI reads it: it unwraps `{"__value__": x}`, which lets a list be a value instead of a link. */
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

/** Every part of it begins with a character that the part before cannot hold: a text that is no number is known in one pass. */
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
/** A double written out in full, without an exponent, has at most 1,077 digits; a number in a graph has a tenth of that. */
const MAX_NUMBER_CHARS = 256;

/**
 * The number a literal is, also one written as text, which ComfyUI converts. Null: no number, or a text longer than any number
 * needs. Above 2^53 it is rounded.
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

/** Signs of numbers, digits of any script among them. */
const NUMERIC = /^[\s\p{Nd}_+.e-]+$/iu;
const DIGIT = /\p{Nd}/u;

/** Text that is no number here, yet may be one to Python: it has other scripts' digits, or more of them than are read here. */
export const mayBeNumber = (value: unknown): boolean =>
  typeof value === 'string' &&
  numberOf(value) === null &&
  NUMERIC.test(value.slice(0, MAX_NUMBER_CHARS)) &&
  (value.length > MAX_NUMBER_CHARS || DIGIT.test(value));

/** A node as a message names it: `6 (CLIPTextEncode)`. */
export const nodeName = (graph: Graph, id: string): string => `${id} (${nodeOf(graph, id)?.class_type ?? 'missing'})`;
