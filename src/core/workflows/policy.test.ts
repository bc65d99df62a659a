import { expect, it } from 'vitest';
import type { NodePolicy } from '../../config.ts';
import type { Graph } from '../../contract/new-job.ts';
import { placeIn } from './graph.ts';
import { disallowedNodes } from './policy.ts';

const CLASSES = ['KSampler', 'SaveImage', 'ImpactSwitch', 'Terminal', 'constructor'];
const graph: Graph = Object.fromEntries(CLASSES.map((class_type, id) => [String(id), { class_type, inputs: {} }]));
const refused = (...policies: NodePolicy[]): string[] =>
  disallowedNodes(graph, policies, placeIn(['workflow'])).map(({ pointer, code, detail }) => {
    expect(code).toBe('node_not_allowed');
    const found = CLASSES[Number(pointer.split('/')[2])] ?? '';
    expect(pointer).toMatch(/^#\/workflow\/\d\/class_type$/);
    expect(detail).toContain(found);
    return found;
  });

it.each<[string, NodePolicy[], string[]]>([
  ['no policy lets everything run', [], []],
  ['an empty policy lets everything run', [{}], []],
  ['an empty allow-list lets nothing run', [{ allow: [] }], CLASSES],
  ['an allow-list lets run what it names', [{ allow: ['KSampler', 'SaveImage'] }], CLASSES.slice(2)],
  ['a deny-list refuses what it names', [{ deny: ['Terminal'] }], ['Terminal']],
  ['a name that ends in * is a beginning', [{ deny: ['Impact*'] }], ['ImpactSwitch']],
  ['* alone is every class', [{ allow: ['*'], deny: ['Terminal'] }], ['Terminal']],
  ['a star stands for any characters, wherever it is', [{ deny: ['*Sampl*'] }], ['KSampler']],
  ['a question mark stands for one character', [{ deny: ['?Sampler', 'SaveImage?'] }], ['KSampler']],
  ['what is denied stays denied though allowed', [{ allow: ['Terminal'], deny: ['Terminal'] }], CLASSES],
  ['every policy must agree', [{ allow: ['KSampler', 'SaveImage'] }, { deny: ['SaveImage'] }], CLASSES.slice(1)],
  ['names are exact', [{ deny: ['terminal', ' Terminal', 'Terminal '] }], []],
])('%s', (_title, policies, expected) => {
  expect(refused(...policies)).toEqual(expected);
});
