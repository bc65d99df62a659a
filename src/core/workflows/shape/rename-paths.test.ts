import { describe, expect, it } from 'vitest';
import { shaped } from '../../../testing/shaping.ts';

const valueOf = (class_type: string, input: string, value: unknown, names: Record<string, string> = {}): unknown =>
  shaped({ '1': { class_type, inputs: { [input]: value } } }, { inputNames: new Map(Object.entries(names)) }).graph['1']
    ?.inputs[input];

describe('a path of Windows', () => {
  it.each<[string, string, unknown, unknown]>([
    ['CheckpointLoaderSimple', 'ckpt_name', 'SDXL\\base.safetensors', 'SDXL/base.safetensors'],
    ['UnetLoaderGGUF', 'unet_name', 'a\\b c\\x-Q4.gguf', 'a/b c/x-Q4.gguf'],
    ['LoadImage', 'image', 'pasted\\image (1).png', 'pasted/image (1).png'],
    ['LoadImage', 'image', 'clipspace\\mask.png [input]', 'clipspace/mask.png [input]'],
    ['VHS_LoadVideo', 'video', 'in\\a.mp4', 'in/a.mp4'],
    ['SaveImage', 'filename_prefix', '%date:yyyy-MM-dd%\\ComfyUI', '%date:yyyy-MM-dd%/ComfyUI'],
    ['DiffusersLoader', 'model_path', 'models\\sd', 'models/sd'],
    ['PrimitiveString', 'value', 'SDXL\\base.safetensors', 'SDXL/base.safetensors'],
    [
      'Power Lora Loader (rgthree)',
      'lora_1',
      { on: true, lora: 'styles\\ink.safetensors', strength: 1 },
      { on: true, lora: 'styles/ink.safetensors', strength: 1 },
    ],
  ])('of %s.%s becomes one of Linux', (class_type, input, value, expected) => {
    expect(valueOf(class_type, input, value)).toEqual(expected);
  });

  it('is reported', () => {
    const graph = { '1': { class_type: 'LoraLoader', inputs: { lora_name: 'a\\b.safetensors', strength_model: 1 } } };
    expect(shaped(graph).renamed).toEqual([
      { node: '1', input: 'lora_name', from: 'a\\b.safetensors', to: 'a/b.safetensors' },
    ]);
  });
});

describe('a text with backslashes is left as it is', () => {
  it.each<[string, string, string]>([
    ['CLIPTextEncode', 'text', 'fate \\(series\\), a cat'],
    ['CLIPTextEncode', 'text', 'see a\\b.safetensors'],
    ['RegexReplace', 'regex_pattern', 'a\\.png'],
    ['RegexReplace', 'regex_pattern', '(\\w+)\\model.safetensors'],
    ['StringReplace', 'find', 'a\\b.safetensors'],
    ['LoadTextFile', 'delimiter', 'a\\n'],
    ['PrimitiveString', 'value', 'C\\D'],
    ['PrimitiveString', 'value', 'one\\ntwo.png'],
    ['LLMLoader', 'system_message', 'Write \\n between lines'],
    ['SaveText', 'text', 'a\\b'],
  ])('in %s.%s: %j', (class_type, input, value) => {
    expect(valueOf(class_type, input, value)).toBe(value);
  });
});

describe('a value that is the name of an input', () => {
  it('becomes what the file is called, wherever it stands', () => {
    const names = { 'a/x.png [input]': 'a_x.png' };
    expect(valueOf('LoadImage', 'image', 'a\\x.png [input]', names)).toBe('a_x.png');
    expect(valueOf('AnyNode', 'anything', ['a/x.png [input]', 'b'], names)).toEqual(['a_x.png', 'b']);
    expect(valueOf('LoadImage', 'image', 'a/x.png', names)).toBe('a/x.png');
  });
});
