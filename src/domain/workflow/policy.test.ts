import { expect, it } from 'vitest';
import type { NodePolicy } from '../../config/schema.ts';
import type { Graph } from '../../contract/new-job.ts';
import { pointersIn } from './graph.ts';
import { disallowedNodes } from './policy.ts';

const CLASSES = ['KSampler', 'SaveImage', 'ImpactSwitch', 'Terminal', 'constructor'];
const graph: Graph = Object.fromEntries(CLASSES.map((class_type, id) => [String(id), { class_type, inputs: {} }]));
const refused = (...policies: NodePolicy[]): string[] =>
  disallowedNodes(graph, policies, pointersIn(['workflow'])).map(({ pointer, code, detail }) => {
    expect(code).toBe('node_not_allowed');
    const found = CLASSES[Number(pointer.split('/')[2])] ?? '';
    expect(pointer).toMatch(/^#\/workflow\/\d\/class_type$/);
    expect(detail).toContain(found);
    return found;
  });

it.each<[string, NodePolicy[], string[]]>([
  ['no policy allows all classes', [], []],
  ['an empty policy allows all classes', [{}], []],
  ['an empty allow-list forbids all classes', [{ allow: [] }], CLASSES],
  ['an allow-list allows only the classes it names', [{ allow: ['KSampler', 'SaveImage'] }], CLASSES.slice(2)],
  ['a deny-list forbids only the classes it names', [{ deny: ['Terminal'] }], ['Terminal']],
  ['a name that ends in * matches a prefix', [{ deny: ['Impact*'] }], ['ImpactSwitch']],
  ['* alone matches all classes', [{ allow: ['*'], deny: ['Terminal'] }], ['Terminal']],
  ['* matches any characters anywhere in a name', [{ deny: ['*Sampl*'] }], ['KSampler']],
  ['? matches one character', [{ deny: ['?Sampler', 'SaveImage?'] }], ['KSampler']],
  ['a class that is allowed and denied is denied', [{ allow: ['Terminal'], deny: ['Terminal'] }], CLASSES],
  [
    'a class must be allowed by every policy',
    [{ allow: ['KSampler', 'SaveImage'] }, { deny: ['SaveImage'] }],
    CLASSES.slice(1),
  ],
  ['names match exactly', [{ deny: ['terminal', ' Terminal', 'Terminal '] }], []],
])('%s', (_title, policies, expected) => {
  expect(refused(...policies)).toEqual(expected);
});
