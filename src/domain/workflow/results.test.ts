import { describe, expect, it } from 'vitest';
import type { Graph } from '../../contract/new-job.ts';
import { SD15 } from '../../testing/graphs.ts';
import { rules, shaped } from '../../testing/shaping.ts';
import type { Facts } from './results.ts';

const node = (class_type: string, inputs: Record<string, unknown> = {}) => ({ class_type, inputs });
const IMAGE = node('EmptyImage', { width: 8, height: 8, batch_size: 1 });
const SAVED: Graph = { '1': IMAGE, '2': node('SaveImage', { images: ['1', 0], filename_prefix: 't' }) };
const FACTS: Facts = new Map([
  ['EmptyImage', { output: false, required: ['width', 'height', 'batch_size', 'color'] }],
  ['ImageInvert', { output: false, required: ['image'] }],
  ['SaveImage', { output: true, required: ['images', 'filename_prefix'] }],
  ['Sink', { output: true, required: [] }],
]);

const found = (graph: Graph, facts: Facts = null, tempOutputs = false) => {
  const { at, resolved } = shaped(graph, { tempOutputs }, rules({ facts }));
  return { at, warnings: resolved.warnings?.map((each) => [each.code, each.node, each.input].join(' ').trim()) };
};
const warned = (...warnings: string[]) => ({ at: [], warnings });
const refused = (...at: string[]) => ({ at, warnings: [] });

describe('a link to a missing node', () => {
  it('is a warning at a node that no output depends on', () => {
    const graph = { ...SAVED, '97': node('ImageInvert', { image: ['96', 0] }) };
    expect(found(graph)).toEqual(warned('dangling_link 97 image'));
    expect(shaped(graph).graph).toEqual(graph);
  });

  it('is a warning at a node that only such a node depends on', () => {
    const graph = {
      ...SAVED,
      '97': node('ImageInvert', { image: ['96', 0] }),
      '98': node('Blur', { image: ['97', 0] }),
    };
    expect(found(graph)).toEqual(warned('dangling_link 97 image'));
  });

  it.each<[string, Graph]>([
    ['a node that saves', { '2': node('SaveImage', { images: ['9', 0] }) }],
    ['a node that shows', { ...SAVED, '3': node('PreviewImage', { images: ['9', 0] }) }],
    ['a node that a save node depends on', { ...SAVED, '1': node('ImageInvert', { image: ['9', 0] }) }],
    ['the only node', { '1': node('ImageInvert', { image: ['9', 0] }) }],
  ])('is an issue at %s', (_title, graph) => {
    expect(found(graph).at).toHaveLength(1);
  });

  it("is judged by the facts of the endpoint's classes when there are any", () => {
    const sink = { ...SAVED, '3': node('Sink', { image: ['9', 0] }) };
    expect(found(sink).at).toEqual([]);
    expect(found(sink, FACTS)).toEqual(refused('dangling_link #/workflow/3/inputs/image'));
    const shown = { '1': { ...IMAGE, inputs: { ...IMAGE.inputs, color: 0 } }, '2': SAVED['2'] ?? IMAGE };
    expect(found({ ...shown, '3': node('ShowThing', { image: ['9', 0] }) }, FACTS)).toEqual(
      warned('dangling_link 3 image'),
    );
  });
});

describe('a graph', () => {
  it('gets a warning when it has no output node', () => {
    expect(found({ '1': IMAGE })).toEqual(warned('no_output_node'));
    const complete = node('EmptyImage', { ...IMAGE.inputs, color: 0 });
    expect(found({ '1': complete }, FACTS)).toEqual(warned('no_output_node'));
    expect(found({ '1': complete, '2': node('Sink', { image: ['1', 0] }) }, FACTS)).toEqual(warned());
  });

  it('gets a warning when it only makes previews, unless previews count as outputs', () => {
    const graph = { '1': IMAGE, '2': node('PreviewImage', { images: ['1', 0] }) };
    expect(found(graph)).toEqual(warned('only_previews'));
    expect(found(graph, null, true)).toEqual(warned());
    expect(found({ ...graph, '3': node('PreviewAny', { source: ['1', 0] }) })).toEqual(warned());
    expect(found({ ...graph, ...SAVED })).toEqual(warned());
  });

  it('gets a warning when a needed node lacks a required input', () => {
    expect(found(SAVED, FACTS)).toEqual(warned('input_missing 1 color'));
    const unneeded = { ...SAVED, '3': node('ImageInvert') };
    expect(found(unneeded, FACTS)).toEqual(warned('input_missing 1 color'));
    expect(found(SAVED)).toEqual(warned());
  });

  it('gets at most MAX_WARNINGS warnings', () => {
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`x${at}`, node('A', { a: ['none', 0] })]));
    expect(found({ ...SAVED, ...many }).warnings).toHaveLength(20);
  });

  it('gets no warning when it is complete', () => {
    expect(found(SD15)).toEqual(warned());
  });
});
