import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../contract/new-job.ts';
import { jsonText } from '../../json.ts';
import { COMPUTED, FLUX, HIRES, IMAGE_TO_IMAGE, PLAIN, SD15, SDXL, SERVICE, WAN } from '../../../testing/graphs.ts';
import { rules, shaped } from '../../../testing/shaping.ts';
import type { Overrides } from './overrides.ts';

/** What holds for every graph and every request. */

/** Names that are properties of every object, names that look like numbers, and names that shaping looks for. */
const name = fc.oneof(
  fc.constantFrom('constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf', '0', '1', '2', ''),
  fc.constantFrom('seed', 'noise_seed', 'text', 'prompt', 'positive', 'negative', 'latent_image', 'samples'),
  fc.constantFrom('width', 'height', 'length', 'steps', 'batch_size', 'filename_prefix', 'value', 'conditioning'),
  fc.string({ maxLength: 4 }),
);
const class_type = fc.constantFrom(
  'KSampler',
  'CLIPTextEncode',
  'EmptyLatentImage',
  'PrimitiveInt',
  'SaveImage',
  'LoadImage',
  'ConditioningZeroOut',
  'WanImageToVideo',
  'BasicGuider',
  'RandomNoise',
  'RepeatLatentBatch',
  'constructor',
);
const literal = fc.oneof(
  fc.integer({ min: -2, max: 5000 }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string({ maxLength: 8 }),
  fc.constantFrom('random', '-1', '{{ a }}', 'x {{ b }}', '512', null, true),
  fc.jsonValue({ maxDepth: 2 }),
);
const link = fc.tuple(name, fc.nat({ max: 3 }));
const record = <T>(value: fc.Arbitrary<T>, maxLength: number): fc.Arbitrary<Record<string, T>> =>
  fc.array(fc.tuple(name, value), { maxLength }).map((entries) => Object.fromEntries(entries));
const graphs: fc.Arbitrary<Graph> = fc.oneof(
  record(fc.record({ class_type, inputs: record(fc.oneof(literal, link), 6) }), 8),
  fc.constantFrom(SD15, HIRES, FLUX, WAN, IMAGE_TO_IMAGE, SDXL, SERVICE, COMPUTED, PLAIN),
);
const number = fc.integer({ min: 1, max: 4096 });
const perhaps = <T>(value: fc.Arbitrary<T>) =>
  fc.option(fc.oneof(value, fc.record({ value, node: name })), { nil: undefined });
const overrides: fc.Arbitrary<Overrides> = fc.record({
  prompt: perhaps(fc.string()),
  negative_prompt: perhaps(fc.string()),
  seed: perhaps(fc.constantFrom<number | bigint | string>('random', -1, 7, 2n ** 64n - 1n, '12')),
  width: perhaps(number),
  height: perhaps(number),
  length: perhaps(number),
  steps: perhaps(number),
});
const limits = fc.record({
  max_pixels: number,
  max_frames: number,
  max_steps: number,
  max_batch: number,
  on_limit: fc.constantFrom('refuse' as const, 'clamp' as const),
});

describe('shaping', () => {
  it('changes nothing in a shaped graph', () => {
    fc.assert(
      fc.property(graphs, overrides, limits, fc.boolean(), (graph, wanted, bounds, randomizeSeeds) => {
        const allowed = rules({ limits: bounds });
        const once = shaped(graph, { overrides: wanted, randomizeSeeds }, allowed);
        const again = shaped(once.graph, {}, allowed);
        expect(again.text).toBe(once.text);
        expect(again.resolved.clamped).toEqual([]);
        expect(again.renamed).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  it('changes nothing without changes, random seeds or repeated prefixes', () => {
    const quiet = [SD15, HIRES, FLUX, WAN, SDXL, SERVICE, COMPUTED, PLAIN];
    for (const graph of quiet) {
      expect(shaped(graph).text).toBe(jsonText(graph));
    }
  });

  it('changes only the inputs that it reports, and never the given graph', () => {
    fc.assert(
      fc.property(graphs, overrides, limits, fc.boolean(), (graph, wanted, bounds, randomizeSeeds) => {
        const before = jsonText(graph);
        const result = shaped(graph, { overrides: wanted, randomizeSeeds }, rules({ limits: bounds }));
        expect(jsonText(graph)).toBe(before);
        expect(Object.keys(result.graph)).toEqual(Object.keys(graph));
        const named = new Set(
          [...result.resolved.overrides, ...result.resolved.seeds, ...result.resolved.clamped, ...result.renamed].map(
            ({ node, input }) => `${node}.${input}`,
          ),
        );
        expect(Object.keys(result.changed).filter((input) => !named.has(input))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  it('sets params with any names and does not touch prototypes', () => {
    fc.assert(
      fc.property(graphs, record(record(literal, 4), 4), (graph, params) => {
        const result = shaped(graph, { params });
        for (const [id, inputs] of Object.entries(params)) {
          const node = Object.hasOwn(graph, id) ? result.graph[id] : undefined;
          const issues = result.issues.filter(({ code }) => code === 'node_missing');
          expect(node === undefined).toBe(issues.some(({ detail }) => detail.endsWith(`${JSON.stringify(id)}.`)));
          expect(Object.keys(inputs).every((input) => node === undefined || Object.hasOwn(node.inputs, input))).toBe(
            true,
          );
        }
        expect(Object.getPrototypeOf(result.graph)).toBe(Object.prototype);
        expect(Object.keys(Object.prototype)).toEqual([]);
        expect(({} as Record<string, unknown>)['seed']).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  it('reports all issues together', () => {
    const graph: Graph = {
      ...SD15,
      '9': { class_type: 'SaveImage', inputs: { filename_prefix: '/etc/x', images: ['77', 0] } },
      '12': { class_type: 'Terminal', inputs: { text: '{{ gone }}' } },
    };
    const result = shaped(
      graph,
      { variables: { spare: 1 }, params: { '88': { a: 1 }, '3': { steps: 500 } }, overrides: { length: 5 } },
      rules({ policies: [{ deny: ['Terminal'] }], limits: { max_steps: 50 } }),
    );
    expect(result.at).toEqual([
      'dangling_link #/workflow/9/inputs/images',
      'limit_exceeded #/params/3/steps',
      'node_missing #/params/88',
      'node_not_allowed #/workflow/12/class_type',
      'override_not_found #/overrides/length',
      'unsafe_input #/workflow/9/inputs/filename_prefix',
      'variable_missing #/workflow/12/inputs/text',
      'variable_unused #/variables/spare',
    ]);
  });

  it('points to the part of the request that set a wrong value', () => {
    const result = shaped(
      SD15,
      { params: { '9': { images: ['nowhere', 0] }, '5': { width: 9000 } }, overrides: { height: 9000 } },
      rules({ limits: { max_pixels: 1_000_000 } }),
    );
    expect(result.at).toEqual(['dangling_link #/params/9/images', 'limit_exceeded #/params/5/width']);
  });

  it('lets overrides win over params, and params over variables', () => {
    const graph: Graph = { '1': { class_type: 'KSampler', inputs: { seed: '{{ s }}', steps: '{{ s }}' } } };
    const result = shaped(graph, { variables: { s: 1 }, params: { '1': { seed: 2 } }, overrides: { seed: 3 } });
    expect(result.issues).toEqual([]);
    expect(result.graph['1']?.inputs).toEqual({ seed: 3, steps: 1 });
  });

  it('counts all issues and lists at most 100', () => {
    const inputs = Object.fromEntries(Array.from({ length: 30_000 }, (_, at) => [`a${at}`, '/x/y']));
    const links = Object.fromEntries(Array.from({ length: 30_000 }, (_, at) => [`b${at}`, ['gone', 0]]));
    const text = { text: '{{ gone }}'.repeat(30_000) };
    const graph: Graph = { '1': { class_type: 'A', inputs: { ...inputs, ...links, ...text } } };
    const { issues, count } = shaped(graph, { variables: {} }, rules({ maxBytes: 10_000_000 }));
    expect(count).toBe(90_000);
    expect(issues).toHaveLength(100);
  });

  it('does not write a graph whose repeated text would take gigabytes', () => {
    const encoder = { class_type: 'CLIPTextEncode', inputs: { text: '' } };
    const sampler = (id: number) => ({ class_type: 'KSampler', inputs: { positive: [`e${id}`, 0] } });
    const graph: Graph = Object.fromEntries(
      Array.from({ length: 950 }, (_, id) => [
        [`e${id}`, encoder],
        [`s${id}`, sampler(id)],
      ]).flat(),
    );
    const result = shaped(graph, { overrides: { prompt: 'x'.repeat(900_000) } });
    expect(result.at).toEqual(['workflow_too_large #/workflow']);
    expect(result.text).toBe('');
  });

  it('measures the graph that runs, not the one in the request', () => {
    const allowed = rules({ maxBytes: 2000 });
    const text = 'x'.repeat(3000);
    expect(shaped(PLAIN, {}, allowed).at).toEqual([]);
    expect(shaped(PLAIN, { params: { '2': { note: text } } }, allowed).at).toEqual(['workflow_too_large #/workflow']);
  });
});

describe('save nodes', () => {
  const save = (filename_prefix: unknown) => ({ class_type: 'SaveImage', inputs: { filename_prefix } });

  it('get different prefixes by their ids', () => {
    const graph = { a: save('x'), b: save('x'), '12:3': save('x'), d: save('y'), e: save(['a', 0]) };
    const result = shaped(graph);
    expect(result.changed).toEqual({ 'b.filename_prefix': 'x_b', '12:3.filename_prefix': 'x_12-3' });
    expect(result.renamed).toEqual(
      [
        { node: '12:3', input: 'filename_prefix', from: 'x', to: 'x_12-3' },
        { node: 'b', input: 'filename_prefix', from: 'x', to: 'x_b' },
      ].sort((one, two) => (one.node === 'b' ? -1 : two.node === 'b' ? 1 : 0)),
    );
  });

  it('get short numbered prefixes when the used part of their ids is equal', () => {
    const ids = Array.from({ length: 1900 }, (_, at) => `${'a'.repeat(60)}${at}`);
    const graph: Graph = Object.fromEntries(ids.map((id) => [id, save('q')]));
    const { renamed } = shaped(graph);
    expect(renamed.slice(0, 3).map(({ to }) => to)).toEqual(['', '-2', '-3'].map((end) => `q_${'a'.repeat(40)}${end}`));
    expect(Math.max(...renamed.map(({ to }) => to.length))).toBe('q_'.length + 40 + '-1899'.length);
  });

  it('never share a prefix', () => {
    const prefix = fc.constantFrom('x', 'x_1', 'x_2', 'x_1-', 'y');
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('1', '2', ':1', '/1', '3'), prefix.map(save)), (graph) => {
        const after = Object.values(shaped(graph).graph).map(({ inputs }) => inputs['filename_prefix']);
        expect(new Set(after).size).toBe(after.length);
      }),
    );
  });
});
