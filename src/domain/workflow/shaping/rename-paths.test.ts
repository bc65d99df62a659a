import { describe, expect, it } from 'vitest';
import cases from '../../../../test/fixtures/file-names.json' with { type: 'json' };
import { shaped } from '../../../testing/shaping.ts';

const valueOf = (class_type: string, input: string, value: unknown, names: Record<string, string> = {}): unknown =>
  shaped({ '1': { class_type, inputs: { [input]: value } } }, { inputNames: new Map(Object.entries(names)) }).graph['1']
    ?.inputs[input];

describe('a Windows path', () => {
  it.each(cases.paths)('gets slashes in $class_type.$input', ({ class_type, input, value, expected }) => {
    expect(valueOf(class_type, input, value)).toEqual(expected);
  });

  it('is reported as renamed', () => {
    const graph = { '1': { class_type: 'LoraLoader', inputs: { lora_name: 'a\\b.safetensors', strength_model: 1 } } };
    expect(shaped(graph).renamed).toEqual([
      { node: '1', input: 'lora_name', from: 'a\\b.safetensors', to: 'a/b.safetensors' },
    ]);
  });
});

describe('a text with backslashes', () => {
  it.each(cases.texts)('stays unchanged in $class_type.$input: $value', ({ class_type, input, value }) => {
    expect(valueOf(class_type, input, value)).toBe(value);
  });
});

describe('a value equal to the name of an input', () => {
  it('becomes the name of the file on the worker', () => {
    const names = { 'a/x.png [input]': 'a_x.png' };
    expect(valueOf('LoadImage', 'image', 'a\\x.png [input]', names)).toBe('a_x.png');
    expect(valueOf('AnyNode', 'anything', ['a/x.png [input]', 'b'], names)).toEqual(['a_x.png', 'b']);
    expect(valueOf('LoadImage', 'image', 'a/x.png', names)).toBe('a/x.png');
  });
});
