import { describe, expect, it } from 'vitest';
import { WAN } from '../../../testing/graphs.ts';
import { rules, shaped } from '../../../testing/shaping.ts';
import type { Variables } from './variables.ts';

const put = (value: unknown, variables: Variables) => {
  const result = shaped({ '1': { class_type: 'A', inputs: { x: value } } }, { variables });
  return { value: result.graph['1']?.inputs['x'], at: result.at };
};

describe('a placeholder', () => {
  it.each<[string, unknown, Variables, unknown]>([
    ['keeps the type of a number when it is the whole text', '{{ n }}', { n: 7 }, 7],
    ['keeps the type of a boolean', '{{n}}', { n: false }, false],
    ['keeps every digit of a large integer', '  {{ n }} ', { n: 2n ** 64n - 1n }, 2n ** 64n - 1n],
    ['is written as text inside other text', 'a {{ n }} b {{ t }}', { n: 1.5, t: 'x' }, 'a 1.5 b x'],
    ['is written with every digit', 'n={{ n }}', { n: 2n ** 64n - 1n }, 'n=18446744073709551615'],
    ['may occur more than once', '{{ t }}{{ t }}', { t: 'x' }, 'xx'],
    ['may be inside lists and objects', { a: [['{{ t }}']], b: 1 }, { t: 'x' }, { a: [['x']], b: 1 }],
    [
      'is replaced by the exact value, special characters included',
      '{{ t }}!',
      { t: '$& $1 {{ t }}' },
      '$& $1 {{ t }}!',
    ],
    ['may have a dotted name', '{{ a.b-c_1 }}', { 'a.b-c_1': 'x' }, 'x'],
  ])('%s', (_title, text, variables, value) => {
    expect(put(text, variables)).toEqual({ value, at: [] });
  });

  it('is an issue without a variable, and plain text without a name', () => {
    expect(put({ deep: ['{{ gone }} {{ }} {{ 1 }}'] }, {})).toEqual({
      value: { deep: ['{{ gone }} {{ }} {{ 1 }}'] },
      at: ['variable_missing #/workflow/1/inputs/x/deep/0'],
    });
  });

  it.each(['constructor', 'toString', '__proto__'])('reads no prototype property named %s', (name) => {
    expect(put(`{{ ${name} }}`, {}).at).toEqual(['variable_missing #/workflow/1/inputs/x']);
  });

  it('has no meaning in a link', () => {
    const graph = { '{{ a }}': { class_type: 'A', inputs: { x: ['{{ a }}', 0] } } };
    expect(shaped(graph, { variables: {} }).issues.map(({ code }) => code)).toEqual(['dependency_cycle']);
  });
});

describe('variables', () => {
  it('fill the placeholders of a video graph', () => {
    const result = shaped(WAN, { variables: { VIDEO_PROMPT: 'a dog runs', INPUT_IMAGE: 'dog.png' } });
    expect(result.issues).toEqual([]);
    expect(result.changed).toEqual({ '6.text': 'a dog runs', '52.image': 'dog.png' });
  });

  it('are issues when no text uses them', () => {
    expect(put('x', { a: 1, b: 2 }).at).toEqual(['variable_unused #/variables/a', 'variable_unused #/variables/b']);
  });

  it('leave double braces unchanged when the request has none', () => {
    const result = shaped({ '1': { class_type: 'CLIPTextEncode', inputs: { text: '{{masterpiece}}' } } });
    expect(result.changed).toEqual({});
    expect(result.issues).toEqual([]);
  });

  it('do not grow the graph beyond its limit', () => {
    const graph = { '1': { class_type: 'A', inputs: { x: '{{ t }}'.repeat(10_000) } } };
    const result = shaped(graph, { variables: { t: 'x'.repeat(100_000) } }, rules({ maxBytes: 1_000_000 }));
    expect(result.at).toContain('workflow_too_large #/variables');
    expect(result.text.length).toBeLessThan(1_100_000);
  });
});
