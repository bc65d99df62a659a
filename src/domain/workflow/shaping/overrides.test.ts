import { describe, expect, it, vi } from 'vitest';
import type { Graph } from '../../../contract/new-job.ts';
import { COMPUTED, FLUX, HIRES, IMAGE_TO_IMAGE, PLAIN, SD15, SDXL, SERVICE, WAN } from '../../../testing/graphs.ts';
import { shaped } from '../../../testing/shaping.ts';
import type { Overrides } from './overrides.ts';
import { findPrompts } from './prompts.ts';
import { inputsUsing } from './literals.ts';

type Case = { title: string; graph: Graph; overrides: Overrides; changed: Record<string, unknown> };

const FOUND: Case[] = [
  { title: 'the prompt', graph: SD15, overrides: { prompt: 'x' }, changed: { '6.text': 'x' } },
  { title: 'the negative prompt', graph: SD15, overrides: { negative_prompt: 'x' }, changed: { '7.text': 'x' } },
  {
    title: 'everything at once',
    graph: SD15,
    overrides: { prompt: 'p', negative_prompt: 'n', seed: 1, width: 640, height: 480, steps: 5 },
    changed: { '6.text': 'p', '7.text': 'n', '3.seed': 1, '5.width': 640, '5.height': 480, '3.steps': 5 },
  },
  {
    title: 'the prompt that two passes share',
    graph: HIRES,
    overrides: { prompt: 'x' },
    changed: { '6.text': 'x' },
  },
  {
    title: 'the size of the first image, not of the upscaled one',
    graph: HIRES,
    overrides: { width: 640, height: 480 },
    changed: { '5.width': 640, '5.height': 480 },
  },
  {
    title: 'the seed of every sampler',
    graph: HIRES,
    overrides: { seed: 3 },
    changed: { '3.seed': 3, '11.seed': 3 },
  },
  {
    title: 'the steps of all samplers when they are equal',
    graph: HIRES,
    overrides: { steps: 5 },
    changed: { '3.steps': 5, '11.steps': 5 },
  },
  {
    title: 'a prompt in a separate node behind a guider',
    graph: FLUX,
    overrides: { prompt: 'x' },
    changed: { '40.value': 'x' },
  },
  { title: 'a seed in a separate node', graph: FLUX, overrides: { seed: 9 }, changed: { '41.value': 9 } },
  { title: 'the steps of a scheduler', graph: FLUX, overrides: { steps: 4 }, changed: { '17.steps': 4 } },
  {
    title: 'the width, not the height that comes from the same node',
    graph: FLUX,
    overrides: { width: 640 },
    changed: { '27.width': 640 },
  },
  {
    title: 'the size and length of a video, through a conditioning node',
    graph: WAN,
    overrides: { prompt: 'p', negative_prompt: 'n', width: 832, height: 480, length: 33 },
    changed: { '6.text': 'p', '7.text': 'n', '50.width': 832, '50.height': 480, '50.length': 33 },
  },
  {
    title: 'the size to which an image is resized',
    graph: IMAGE_TO_IMAGE,
    overrides: { prompt: 'x', width: 512, seed: 4 },
    changed: { '5.prompt': 'x', '2.width': 512, '7.seed': 4 },
  },
  {
    title: 'the prompt of all encoders with the same text',
    graph: SDXL,
    overrides: { prompt: 'x' },
    changed: { '6.text_g': 'x', '6.text_l': 'x', '15.text': 'x' },
  },
  {
    title: 'the size of the image, not the size inputs of an encoder',
    graph: SDXL,
    overrides: { width: 896 },
    changed: { '5.width': 896 },
  },
  {
    title: 'the prompt and seed of an API node',
    graph: SERVICE,
    overrides: { prompt: 'x', seed: 5 },
    changed: { '1.prompt': 'x', '1.seed': 5 },
  },
  {
    title: 'the size in a graph without a sampler',
    graph: PLAIN,
    overrides: { width: 32, height: 8 },
    changed: { '1.width': 32, '1.height': 8 },
  },
];

describe('an override without a node sets', () => {
  it.each(FOUND)('$title', ({ graph, overrides, changed }) => {
    const result = shaped(graph, { overrides });
    expect(result.issues).toEqual([]);
    expect(result.changed).toEqual(changed);
    expect(result.resolved.overrides.map(({ node, input }) => `${node}.${input}`).sort()).toEqual(
      Object.keys(changed).sort(),
    );
  });
});

type Refused = { title: string; graph: Graph; overrides: Overrides; at: string[]; names: string[] };

const REFUSED: Refused[] = [
  {
    title: 'a prompt in a graph without one',
    graph: PLAIN,
    overrides: { prompt: 'x' },
    at: ['override_not_found #/overrides/prompt'],
    names: [],
  },
  {
    title: 'all fields in a graph without any of them',
    graph: PLAIN,
    overrides: { negative_prompt: 'x', seed: 1, steps: 1, length: 1 },
    at: ['length', 'negative_prompt', 'seed', 'steps'].map((field) => `override_not_found #/overrides/${field}`),
    names: [],
  },
  {
    title: 'a negative prompt that the graph makes from the positive one',
    graph: IMAGE_TO_IMAGE,
    overrides: { negative_prompt: 'x' },
    at: ['override_not_found #/overrides/negative_prompt'],
    names: [],
  },
  {
    title: 'a negative prompt in two encoders with different texts',
    graph: SDXL,
    overrides: { negative_prompt: 'x' },
    at: ['override_ambiguous #/overrides/negative_prompt'],
    names: ['7 (CLIPTextEncode)', '16 (CLIPTextEncode)'],
  },
  {
    title: 'steps that are split over two samplers',
    graph: WAN,
    overrides: { steps: 4 },
    at: ['override_ambiguous #/overrides/steps'],
    names: ['57 (KSamplerAdvanced)', '58 (KSamplerAdvanced)'],
  },
  {
    title: 'a prompt that another node computes',
    graph: COMPUTED,
    overrides: { prompt: 'x' },
    at: ['override_ambiguous #/overrides/prompt'],
    names: ['6 (CLIPTextEncode)'],
  },
  {
    title: 'a negative prompt that is also the prompt',
    graph: { ...SD15, '3': { class_type: 'KSampler', inputs: { positive: ['6', 0], negative: ['6', 0] } } },
    overrides: { negative_prompt: 'x' },
    at: ['override_ambiguous #/overrides/negative_prompt'],
    names: ['6 (CLIPTextEncode)'],
  },
  {
    title: 'a node that does not exist',
    graph: SD15,
    overrides: { width: { value: 64, node: 'constructor' }, prompt: { value: 'x', node: '99' } },
    at: ['node_missing #/overrides/prompt/node', 'node_missing #/overrides/width/node'],
    names: [],
  },
  {
    title: 'a node without such an input',
    graph: SD15,
    overrides: { prompt: { value: 'x', node: '5' }, seed: { value: 1, node: '9' } },
    at: ['override_not_found #/overrides/prompt/node', 'override_not_found #/overrides/seed/node'],
    names: ['5 (EmptyLatentImage)'],
  },
];

describe('an override is rejected, and the graph is unchanged, for', () => {
  it.each(REFUSED)('$title', ({ graph, overrides, at, names }) => {
    const result = shaped(graph, { overrides });
    expect(result.at).toEqual(at);
    expect(result.text).toBe(shaped(graph).text);
    for (const name of names) {
      expect(result.issues.map(({ detail }) => detail).join()).toContain(name);
    }
  });
});

describe('an override for a named node', () => {
  it.each<Case>([
    {
      title: 'sets the input of that node',
      graph: HIRES,
      overrides: { width: { value: 64, node: '10' } },
      changed: { '10.width': 64 },
    },
    {
      title: 'replaces a link to a computed value',
      graph: COMPUTED,
      overrides: { prompt: { value: 'x', node: '6' } },
      changed: { '6.text': 'x' },
    },
    {
      title: 'sets one of two samplers that split the steps',
      graph: WAN,
      overrides: { steps: { value: 30, node: '57' } },
      changed: { '57.steps': 30 },
    },
    {
      title: 'accepts a node that only holds the value',
      graph: FLUX,
      overrides: { prompt: { value: 'x', node: '40' }, seed: { value: 2, node: '41' } },
      changed: { '40.value': 'x', '41.value': 2 },
    },
  ])('$title', ({ graph, overrides, changed }) => {
    const result = shaped(graph, { overrides });
    expect(result.issues).toEqual([]);
    expect(result.changed).toEqual(changed);
  });
});

describe('a seed override', () => {
  it.each(['random', -1] as const)('draws one random seed for all samplers and reports it for %s', (seed) => {
    const result = shaped(HIRES, { overrides: { seed } });
    expect(result.changed).toEqual({ '3.seed': 1001, '11.seed': 1001 });
    expect(result.resolved.seeds).toEqual([
      { node: '3', input: 'seed', value: 1001, random: true },
      { node: '11', input: 'seed', value: 1001, random: true },
    ]);
  });

  it.each([2n ** 64n - 1n, '18446744073709551615'])('keeps %s exact', (seed) => {
    const result = shaped(SD15, { overrides: { seed } });
    expect(result.text).toContain('"seed":18446744073709551615,');
    expect(result.resolved.seeds).toEqual([{ node: '3', input: 'seed', value: '18446744073709551615', random: false }]);
  });

  it('converts text of digits to a number', () => {
    expect(shaped(SD15, { overrides: { seed: '0007' } }).changed).toEqual({ '3.seed': 7 });
  });

  it('replaces -1 in the graph by a random seed without an option', () => {
    const result = shaped(IMAGE_TO_IMAGE);
    expect(result.changed).toEqual({ '7.seed': 1001 });
    expect(result.resolved.seeds).toEqual([{ node: '7', input: 'seed', value: 1001, random: true }]);
  });

  it('draws a random seed everywhere on request, except where the request sets one', () => {
    const result = shaped(HIRES, { params: { '11': { seed: 5 } }, randomizeSeeds: true });
    expect(result.changed).toEqual({ '3.seed': 1001, '11.seed': 5 });
  });

  it('draws a random seed in a separate seed node', () => {
    expect(shaped(FLUX, { randomizeSeeds: true }).changed).toEqual({ '41.value': 1001 });
  });

  it('draws at most MAX_RANDOM_SEEDS random seeds', () => {
    const graph = (size: number): Graph =>
      Object.fromEntries(
        Array.from({ length: size }, (_, id) => [String(id), { class_type: 'KSampler', inputs: { seed: -1 } }]),
      );
    expect(shaped(graph(100)).resolved.seeds).toHaveLength(100);
    expect(shaped(graph(101)).at).toEqual(['out_of_range #/workflow']);
  });
});

describe('a text that feeds many nodes', () => {
  const graphOf = (encoders: number, text: string): Graph => ({
    p: { class_type: 'PrimitiveString', inputs: { value: text } },
    ...Object.fromEntries(
      Array.from({ length: encoders }, (_, at) => [
        [`s${at}`, { class_type: 'KSampler', inputs: { positive: [`e${at}`, 0] } }],
        [`e${at}`, { class_type: 'CLIPTextEncode', inputs: { text: ['p', 0] } }],
      ]).flat(),
    ),
  });

  it('is compared without writing it for each node', () => {
    const written = vi.spyOn(JSON, 'stringify');
    const result = shaped(graphOf(600, 'x'.repeat(800_000)), { overrides: { prompt: 'a' } });
    const chars = written.mock.results.reduce((sum, { value }) => sum + String(value).length, 0);
    written.mockRestore();
    expect(result.changed).toEqual({ 'p.value': 'a' });
    expect(chars).toBeLessThan(800_000);
  });
});

it('finding prompts visits a node once, even when many of its outputs are used', () => {
  const links = (to: string) => Object.fromEntries(Array.from({ length: 3000 }, (_, at) => [`cond${at}`, [to, at]]));
  let asked = 0;
  const counted = new Proxy(links('e'), { ownKeys: (target) => ((asked += 1), Reflect.ownKeys(target)) });
  const graph: Graph = {
    s: { class_type: 'KSampler', inputs: { positive: ['a', 0] } },
    a: { class_type: 'Combine', inputs: links('b') },
    b: { class_type: 'Combine', inputs: counted },
    e: { class_type: 'CLIPTextEncode', inputs: { text: 'old' } },
  };
  const users = inputsUsing(graph);
  asked = 0;
  expect(findPrompts(graph, users).positive).toEqual({ inputs: [{ node: 'e', input: 'text' }], unclear: [] });
  expect(asked).toBe(1);
});
