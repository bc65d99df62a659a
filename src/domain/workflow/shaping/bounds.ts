import type { Clamped } from '../../../contract/job.ts';
import type { GraphLimits } from '../../../config/schema.ts';
import { inputOf, isLink, numberOf, type Node, type NodeInput } from '../graph.ts';
import type { WorkingCopy } from './working-copy.ts';
import { HEIGHT_INPUTS, LENGTH_INPUTS, WIDTH_INPUTS } from './sizes.ts';
import { findLiteral, inputsUsing } from './literals.ts';

/**
 * Applies an endpoint's limits to the numbers in a graph. Numbers that a graph computes while it runs are not checked:
 * an endpoint that needs strict limits must also restrict the node classes.
 */

/**
 * The most clamped values that a job reports. A graph that needs more is rejected, so that every change is reported.
 */
const MAX_CLAMPED = 100;
/** A clamped size stays a multiple of these: latents have an eighth of the image's size, and video models need 16. */
const GRID = [16, 8, 1] as const;

const BATCH_INPUTS = ['batch_size'];
/** Nodes that repeat a batch name the count `amount`. */
const REPEATS = /^Repeat/;
/** `length` means frames only in a node that also has a width. */
const isFrames = (node: Node, name: string): boolean =>
  name === 'length' ? Object.hasOwn(node.inputs, 'width') : LENGTH_INPUTS.some((each) => each === name);
/** The last part of a dotted input name: `width` of `resize_type.width`. */
const lastPart = (input: string): string => input.slice(input.lastIndexOf('.') + 1);

export function bound(copy: WorkingCopy, limits: GraphLimits): Clamped[] {
  const clamped: Clamped[] = [];
  const users = inputsUsing(copy.graph);

  /** The literal at this input, or at the end of its links; undefined when it is computed or missing. */
  const literalAt = (node: string, input: string): unknown => {
    const own = inputOf(copy.graph[node], input);
    return isLink(own) ? findLiteral(copy.graph, users, { node, input }, 'number', [])?.value : own;
  };

  /** The same as a number; null when it is not one. */
  const numberAt = (node: string, input: string): { value: number; own: boolean } | null => {
    const value = numberOf(literalAt(node, input));
    return value === null ? null : { value, own: !isLink(inputOf(copy.graph[node], input)) };
  };

  const over = (target: NodeInput, limit: string, detail: string): void =>
    copy.issues.add('limit_exceeded', () => ({
      pointer: copy.pointerOf(target.node, 'inputs', target.input),
      detail: `${detail} (${limit}).`,
    }));

  const clamp = (target: NodeInput, from: number, to: number, limit: string): void => {
    copy.set(target, to);
    clamped.push({ ...target, from, to, limit });
  };

  const atMost = (
    id: string,
    input: string,
    max: number | undefined,
    limit: string,
    nearest: (at: number) => number,
  ): void => {
    const found = max === undefined ? null : numberAt(id, input);
    if (max === undefined || found === null || found.value <= max) {
      unreadable(id, input, max, limit);
      return;
    }
    if (limits.on_limit === 'clamp' && found.own) {
      clamp({ node: id, input }, found.value, nearest(found.value), limit);
    } else {
      over({ node: id, input }, limit, `"${input}" is ${found.value}. The maximum of this endpoint is ${max}`);
    }
  };

  /** Text that this code cannot read as a number may be one to Python, for example digits of another script. */
  const unreadable = (id: string, input: string, max: number | undefined, limit: string): void => {
    const value = max === undefined ? undefined : literalAt(id, input);
    if (typeof value === 'string' && numberOf(value) === null) {
      over({ node: id, input }, limit, `"${input}" must be a number`);
    }
  };

  const pixels = (id: string, names: Sides, max: number): void => {
    const width = numberAt(id, names.width);
    const height = numberAt(id, names.height);
    unreadable(id, names.width, max, 'max_pixels');
    unreadable(id, names.height, max, 'max_pixels');
    // An unknown side counts as one pixel, its least possible value.
    const area = Math.max(width?.value ?? 1, 1) * Math.max(height?.value ?? 1, 1);
    if (area <= max) {
      return;
    }
    if (limits.on_limit === 'clamp' && width?.own === true && height?.own === true) {
      const to = within(width.value, height.value, max);
      clamp({ node: id, input: names.width }, width.value, to.width, 'max_pixels');
      clamp({ node: id, input: names.height }, height.value, to.height, 'max_pixels');
    } else {
      const input = width === null ? names.height : names.width;
      const seen = `${width?.value ?? '?'} × ${height?.value ?? '?'} pixels`;
      over({ node: id, input }, 'max_pixels', `The node asks for ${seen}. The maximum of this endpoint is ${max}`);
    }
  };

  for (const [id, node] of Object.entries(copy.graph)) {
    if (limits.max_pixels !== undefined) {
      for (const sides of sidesOf(node)) {
        pixels(id, sides, limits.max_pixels);
      }
    }
    const batch = REPEATS.test(node.class_type) ? [...BATCH_INPUTS, 'amount'] : BATCH_INPUTS;
    for (const input of Object.keys(node.inputs)) {
      const name = lastPart(input);
      if (name === 'megapixels' && limits.max_pixels !== undefined) {
        const max = limits.max_pixels / 2 ** 20;
        atMost(id, input, max, 'max_pixels', () => max);
      } else if (isFrames(node, name)) {
        atMost(id, input, limits.max_frames, 'max_frames', (at) => framesBelow(at, limits.max_frames ?? at));
      } else if (name === 'steps') {
        atMost(id, input, limits.max_steps, 'max_steps', () => limits.max_steps ?? 0);
      } else if (batch.includes(name)) {
        atMost(id, input, limits.max_batch, 'max_batch', () => limits.max_batch ?? 0);
      }
    }
  }
  if (clamped.length > MAX_CLAMPED) {
    copy.issues.add('limit_exceeded', () => ({
      pointer: copy.pointerOf(),
      detail: `${clamped.length} values exceed this endpoint's limits. At most ${MAX_CLAMPED} values are clamped.`,
    }));
  }
  return clamped;
}

type Sides = { width: string; height: string };

/** The pairs of inputs that give a size: `width` and `height`, `resize_type.width` and `resize_type.height`. */
function sidesOf(node: Node): Sides[] {
  const found = new Map<string, Sides>();
  for (const input of Object.keys(node.inputs)) {
    const name = lastPart(input);
    const before = input.slice(0, -name.length || undefined);
    for (const [at, width] of WIDTH_INPUTS.entries()) {
      const height = HEIGHT_INPUTS[at] ?? '';
      if (name === width || name === height) {
        found.set(before + width, { width: before + width, height: before + height });
      }
    }
  }
  return [...found.values()];
}

/** The largest size with the same aspect ratio within `max` pixels, on the coarsest grid that divides both sides. */
export function within(width: number, height: number, max: number): { width: number; height: number } {
  const scale = Math.sqrt(max / (width * height));
  const grid = GRID.find((step) => width % step === 0 && height % step === 0) ?? 1;
  const fit = (side: number, step: number): number => Math.max(step, Math.floor((side * scale) / step) * step);
  for (const step of GRID.filter((each) => each <= grid)) {
    const to = { width: fit(width, step), height: fit(height, step) };
    if (to.width * to.height <= max) {
      return to;
    }
  }
  // The image is very long and thin: one side is a single pixel, and the other reaches the limit.
  return width > height ? { width: max, height: 1 } : { width: 1, height: max };
}

/** Video models accept 8n + 1 or 4n + 1 frames. A length of that form keeps it. */
export function framesBelow(frames: number, max: number): number {
  const period = [8, 4].find((each) => (frames - 1) % each === 0 && max > each);
  return period === undefined ? max : Math.floor((max - 1) / period) * period + 1;
}
