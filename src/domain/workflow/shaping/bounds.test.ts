import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GraphLimits } from '../../../config/schema.ts';
import type { Graph } from '../../../contract/new-job.ts';
import { FLUX, SD15, WAN } from '../../../testing/graphs.ts';
import { rules, shaped } from '../../../testing/shaping.ts';
import { framesBelow, within } from './bounds.ts';

const bounded = (graph: Graph, limits: Partial<GraphLimits>) => shaped(graph, {}, rules({ limits }));
const one = (inputs: Record<string, unknown>, class_type = 'A'): Graph => ({ '1': { class_type, inputs } });
const at = (input: string) => [`limit_exceeded #/workflow/1/inputs/${input}`];

type Edge = [what: string, limits: Partial<GraphLimits>, taken: Graph, refused: Graph, input: string];

describe('bounding accepts the limit itself and rejects one more:', () => {
  it.each<Edge>([
    ['pixels', { max_pixels: 64 }, one({ width: 8, height: 8 }), one({ width: 8, height: 9 }), 'width'],
    [
      'pixels under other names',
      { max_pixels: 64 },
      one({ empty_latent_width: 8, empty_latent_height: 8, width: 64 }),
      one({ empty_latent_width: 8, empty_latent_height: 9, width: 64 }),
      'empty_latent_width',
    ],
    [
      'pixels in a dotted input',
      { max_pixels: 64 },
      one({ 'resize_type.width': 8, 'resize_type.height': 8 }),
      one({ 'resize_type.width': 8, 'resize_type.height': 9 }),
      'resize_type.width',
    ],
    [
      'megapixels in a dotted input',
      { max_pixels: 2 ** 20 },
      one({ 'resize_type.megapixels': 1 }),
      one({ 'resize_type.megapixels': 1.01 }),
      'resize_type.megapixels',
    ],
    ['one side without the other', { max_pixels: 64 }, one({ height: 64 }), one({ height: 65 }), 'height'],
    ['megapixels', { max_pixels: 2 ** 20 }, one({ megapixels: 1 }), one({ megapixels: 1.01 }), 'megapixels'],
    ['frames', { max_frames: 81 }, one({ width: 8, length: 81 }), one({ width: 8, length: 82 }), 'length'],
    ['frames under another name', { max_frames: 81 }, one({ num_frames: 81 }), one({ num_frames: 82 }), 'num_frames'],
    ['steps', { max_steps: 20 }, one({ steps: 20 }), one({ steps: 21 }), 'steps'],
    ['batch', { max_batch: 4 }, one({ batch_size: 4 }), one({ batch_size: 5 }), 'batch_size'],
    [
      'a repeated batch',
      { max_batch: 4 },
      one({ amount: 4 }, 'RepeatLatentBatch'),
      one({ amount: 5 }, 'RepeatLatentBatch'),
      'amount',
    ],
  ])('for %s', (_what, limits, taken, refused, input) => {
    expect(bounded(taken, limits).at).toEqual([]);
    expect(bounded(refused, limits).at).toEqual(at(input));
  });
});

describe('bounding', () => {
  it.each<[string, unknown]>([
    ['number as text', '21'],
    ['text with characters that Python ignores', ' +2_1 '],
    ['text with an exponent', '2.1e1'],
    ['fraction', 20.5],
    ['large integer', 2n ** 64n - 1n],
    ['number inside the wrapper that ComfyUI removes', { __value__: 21 }],
    ['digits of another script', '٢١'],
  ])('rejects a %s above the limit', (_title, steps) => {
    expect(bounded(one({ steps }), { max_steps: 20 }).at).toEqual(at('steps'));
  });

  it('rejects a number above the limit in a linked node', () => {
    expect(bounded(FLUX, { max_pixels: 1024 * 1024 - 1 }).at).toEqual(['limit_exceeded #/workflow/27/inputs/width']);
    expect(bounded(FLUX, { max_pixels: 1024 * 1024 }).at).toEqual([]);
  });

  it.each<[string, string]>([
    ['digits of another script', '٢١'],
    ['behind more zeros than are read', `${'0'.repeat(300)}21`],
    ['behind more blanks than are read', `${' '.repeat(300)}21`],
  ])('rejects a linked number given as %s', (_title, value) => {
    const held = { '2': { class_type: 'PrimitiveInt', inputs: { value } } };
    expect(bounded({ ...one({ steps: ['2', 0] }), ...held }, { max_steps: 20 }).at).toEqual(at('steps'));
  });

  it('accepts any text that another node computes from', () => {
    const graph = { ...one({ steps: ['2', 0] }), '2': { class_type: 'SimpleMath', inputs: { value: 'a * 2', a: 1 } } };
    expect(bounded(graph, { max_steps: 20 }).at).toEqual([]);
  });

  it('rejects two sides whose product is too large', () => {
    expect(bounded(one({ width: 100_000, height: 1 }), { max_pixels: 1000 }).at).toEqual(at('width'));
  });

  it('rejects negative sides', () => {
    expect(bounded(one({ width: -1, height: 2000 }), { max_pixels: 1000 }).at).toEqual(at('width'));
  });
});

describe('clamping', () => {
  it('lowers values above the limit, reports them, and keeps the aspect ratio', () => {
    const result = bounded(SD15, { max_pixels: 256 * 256, max_steps: 4, on_limit: 'clamp' });
    expect(result.issues).toEqual([]);
    expect(result.changed).toEqual({ '5.width': 256, '5.height': 256, '3.steps': 4 });
    expect(result.resolved.clamped).toEqual([
      { node: '3', input: 'steps', from: 20, to: 4, limit: 'max_steps' },
      { node: '5', input: 'width', from: 512, to: 256, limit: 'max_pixels' },
      { node: '5', input: 'height', from: 512, to: 256, limit: 'max_pixels' },
    ]);
  });

  it('keeps a length that video models accept', () => {
    expect(bounded(WAN, { max_frames: 50, on_limit: 'clamp' }).changed).toEqual({ '50.length': 49 });
  });

  it('lowers a value that an override set', () => {
    const result = shaped(SD15, { overrides: { steps: 100 } }, rules({ limits: { max_steps: 30, on_limit: 'clamp' } }));
    expect(result.changed).toEqual({ '3.steps': 30 });
  });

  it('rejects a number that also feeds other inputs', () => {
    expect(bounded(FLUX, { max_pixels: 1000, on_limit: 'clamp' }).at).toEqual([
      'limit_exceeded #/workflow/27/inputs/width',
    ]);
  });

  it('keeps the pixels within max_pixels and the aspect ratio almost unchanged', () => {
    const side = fc.integer({ min: 1, max: 16_384 });
    fc.assert(
      fc.property(side, side, fc.integer({ min: 1, max: 2 ** 22 }), (width, height, max) => {
        fc.pre(width * height > max);
        const to = within(width, height, max);
        expect(to.width * to.height).toBeLessThanOrEqual(max);
        expect(Math.min(to.width, to.height)).toBeGreaterThanOrEqual(1);
        expect(to.width <= width && to.height <= height).toBe(true);
      }),
    );
  });

  it('keeps a size on its grid', () => {
    expect(within(1920, 1088, 1024 * 1024)).toEqual({ width: 1360, height: 768 });
    expect(within(1000, 600, 300_000)).toEqual({ width: 704, height: 424 });
  });

  it('keeps between one and max_frames frames', () => {
    const count = fc.integer({ min: 1, max: 1000 });
    fc.assert(
      fc.property(count, count, (frames, max) => {
        const to = framesBelow(frames, max);
        expect(to >= 1 && to <= max).toBe(true);
      }),
    );
  });
});

it('bounding changes nothing without limits', () => {
  expect(bounded(one({ width: 1e9, height: 1e9, steps: 1e9, batch_size: 1e9, length: 1e9 }), {}).at).toEqual([]);
});
