import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../contract/new-job.ts';
import { shaped } from '../../../testing/shaping.ts';
import type { Overrides } from './overrides.ts';

/**
 * Shapes of real graphs in which an override could land at the wrong node. Custom nodes take and give what their
 * sources say.
 */

const node = (class_type: string, inputs: Record<string, unknown> = {}) => ({ class_type, inputs });
const text = (value: unknown) => node('CLIPTextEncode', { text: value, clip: ['1', 1] });
const sampler = (inputs: Record<string, unknown>) =>
  node('KSampler', { seed: 1, steps: 20, model: ['1', 0], ...inputs });
const BASE: Graph = {
  '1': node('CheckpointLoaderSimple', { ckpt_name: 'a.safetensors' }),
  '2': text('a cat'),
  '3': text('blurry'),
  '5': node('EmptyLatentImage', { width: 512, height: 512, batch_size: 1 }),
  '6': sampler({ positive: ['2', 0], negative: ['3', 0], latent_image: ['5', 0] }),
  '7': node('VAEDecode', { samples: ['6', 0], vae: ['1', 2] }),
  '8': node('SaveImage', { images: ['7', 0], filename_prefix: 't' }),
};
/** The base with the sampler's conditioning from these outputs. */
const through = (nodes: Graph, positive: [string, number], negative: [string, number]): Graph => ({
  ...BASE,
  ...nodes,
  '6': sampler({ positive, negative, latent_image: ['5', 0] }),
});
const both = { positive: ['2', 0], negative: ['3', 0] };
const PROMPTS: Overrides = { prompt: 'p', negative_prompt: 'n' };
const SIZE: Overrides = { width: 640, height: 448 };

const ENCODED = { '2.text': 'p', '3.text': 'n' };
const WILDCARD = node('ImpactWildcardEncode', {
  wildcard_text: 'a __color__ cat',
  populated_text: 'a red cat',
  mode: 'populate',
  model: ['1', 0],
  clip: ['1', 1],
});
const EFFICIENT = node('Efficient Loader', {
  ckpt_name: 'a.safetensors',
  positive: 'a cat',
  negative: 'bad',
  empty_latent_width: 512,
  empty_latent_height: 512,
  token_normalization: 'none',
});
const EASY = node('easy fullLoader', {
  ckpt_name: 'a.safetensors',
  resolution: 'width x height (custom)',
  empty_latent_width: 512,
  empty_latent_height: 512,
  positive: 'a cat',
  positive_token_normalization: 'none',
  positive_weight_interpretation: 'comfy',
  negative: 'bad',
  negative_token_normalization: 'none',
  negative_weight_interpretation: 'comfy',
});
const PICTURE: Graph = {
  ...BASE,
  '30': node('LoadImage', { image: 'x.png' }),
  '31': node('ImageScale', { image: ['30', 0], width: 768, height: 768 }),
  '32': node('VAEEncode', { pixels: ['31', 0], vae: ['1', 2] }),
  '6': sampler({ ...both, latent_image: ['32', 0] }),
};

type Case = [title: string, graph: Graph, overrides: Overrides, changed: Record<string, unknown>];

const PLACED: Case[] = [
  ...['ApplyInstantID', 'BrushNet', 'PowerPaint', 'Attention couple'].map((name): Case => [
    `prompts behind ${name}, which gives a model first`,
    through({ '4': node(name, { model: ['1', 0], ...both }) }, ['4', 1], ['4', 2]),
    PROMPTS,
    ENCODED,
  ]),
  [
    'prompts behind a node whose first output is conditioning',
    through({ '4': node('ControlNetApplyAdvanced', both) }, ['4', 0], ['4', 1]),
    PROMPTS,
    ENCODED,
  ],
  [
    'prompts in a basic pipe',
    through(
      {
        '40': node('ToBasicPipe', { model: ['1', 0], ...both }),
        '4': node('FromBasicPipe', { basic_pipe: ['40', 0] }),
      },
      ['4', 3],
      ['4', 4],
    ),
    PROMPTS,
    ENCODED,
  ],
  [
    'prompts in a pipe with one replaced',
    {
      ...BASE,
      '9': text('a dog'),
      '40': node('ToBasicPipe', { model: ['1', 0], ...both }),
      '41': node('EditBasicPipe', { basic_pipe: ['40', 0], positive: ['9', 0] }),
      '6': node('ImpactKSamplerBasicPipe', { seed: 1, basic_pipe: ['41', 0], latent_image: ['5', 0] }),
    },
    PROMPTS,
    { '9.text': 'p', '3.text': 'n' },
  ],
  [
    'prompts in a tuple of base and refiner',
    {
      ...BASE,
      '40': node('Pack SDXL Tuple', {
        base_positive: ['2', 0],
        base_negative: ['3', 0],
        refiner_positive: ['2', 0],
        refiner_negative: ['3', 0],
      }),
      '4': node('Unpack SDXL Tuple', { sdxl_tuple: ['40', 0] }),
      '6': sampler({ positive: ['4', 2], negative: ['4', 3], latent_image: ['5', 0] }),
      '9': sampler({ positive: ['4', 6], negative: ['4', 7], latent_image: ['6', 0] }),
    },
    PROMPTS,
    ENCODED,
  ],
  [
    'prompts in a context',
    through(
      { '40': node('Context (rgthree)', both), '4': node('Context (rgthree)', { base_ctx: ['40', 0] }) },
      ['4', 4],
      ['4', 5],
    ),
    PROMPTS,
    ENCODED,
  ],
  [
    'prompts and size of an Efficient Loader',
    {
      '2': EFFICIENT,
      '6': node('KSampler (Efficient)', {
        seed: 1,
        positive: ['2', 1],
        negative: ['2', 2],
        latent_image: ['2', 3],
        optional_vae: ['2', 4],
      }),
      '9': node('ImageScale', { image: ['6', 5], width: 2048, height: 2048 }),
      '8': node('SaveImage', { images: ['9', 0], filename_prefix: 't' }),
    },
    { ...PROMPTS, ...SIZE },
    { '2.positive': 'p', '2.negative': 'n', '2.empty_latent_width': 640, '2.empty_latent_height': 448 },
  ],
  [
    'prompts and size of an easy fullLoader, through its pipe',
    {
      '2': EASY,
      '3': node('easy preSampling', { pipe: ['2', 0], steps: 20, seed: 1 }),
      '6': node('easy kSampler', { pipe: ['3', 0] }),
      '8': node('SaveImage', { images: ['6', 1], filename_prefix: 't' }),
    },
    { ...PROMPTS, ...SIZE, seed: 5, steps: 9 },
    {
      '2.positive': 'p',
      '2.negative': 'n',
      '2.empty_latent_width': 640,
      '2.empty_latent_height': 448,
      '3.seed': 5,
      '3.steps': 9,
    },
  ],
  [
    'both texts of a wildcard encoder in each mode',
    through({ '4': WILDCARD }, ['4', 2], ['3', 0]),
    PROMPTS,
    { '4.wildcard_text': 'p', '4.populated_text': 'p', '3.text': 'n' },
  ],
  [
    'the negative prompt of a sampler whose input is neg_conditioning',
    {
      ...BASE,
      '6': node('XlabsSampler', {
        noise_seed: 1,
        conditioning: ['2', 0],
        neg_conditioning: ['3', 0],
        latent_image: ['5', 0],
      }),
    },
    PROMPTS,
    ENCODED,
  ],
  [
    'prompts of a sampler with an unknown class name',
    { ...BASE, '6': node('SUPIR_sample', { seed: 1, latents: ['5', 0], ...both }) },
    PROMPTS,
    ENCODED,
  ],
  [
    'a prompt that a loader takes from a separate node',
    {
      ...BASE,
      '9': node('PrimitiveString', { value: 'a cat' }),
      '2': node('Efficient Loader', { ...EFFICIENT.inputs, positive: ['9', 0] }),
      '6': sampler({ positive: ['2', 1], negative: ['2', 2], latent_image: ['2', 3] }),
    },
    PROMPTS,
    { '9.value': 'p', '2.negative': 'n' },
  ],
  [
    'the size of the first pass when a second pass upscales its image',
    {
      ...BASE,
      '31': node('ImageScale', { image: ['7', 0], width: 1024, height: 1024 }),
      '32': node('VAEEncode', { pixels: ['31', 0], vae: ['1', 2] }),
      '33': sampler({ ...both, latent_image: ['32', 0] }),
    },
    SIZE,
    { '5.width': 640, '5.height': 448 },
  ],
  ['the size that the picture is brought to', PICTURE, SIZE, { '31.width': 640, '31.height': 448 }],
];

describe('an override sets', () => {
  it.each(PLACED)('%s', (_title, graph, overrides, changed) => {
    const result = shaped(graph, { overrides });
    expect(result.issues).toEqual([]);
    expect(result.changed).toEqual(changed);
  });
});

type Refused = [title: string, graph: Graph, overrides: Overrides, at: string[], names: string];

const REFUSED: Refused[] = [
  [
    'a text with an unknown name, when another encoder and a segmenter have known names',
    through(
      {
        '30': node('GroundingDinoSAMSegment (segment anything)', { prompt: 'face' }),
        '4': node('StyledEncode', { description: 'a cat', clip: ['1', 1] }),
      },
      ['4', 0],
      ['3', 0],
    ),
    { prompt: 'p' },
    ['override_not_found #/overrides/prompt'],
    '4 (StyledEncode)',
  ],
  [
    'one of two samplers, when the text of the other is unknown',
    {
      ...BASE,
      '4': node('StyledEncode', { description: 'a cat', clip: ['1', 1] }),
      '9': sampler({ positive: ['4', 0], negative: ['3', 0], latent_image: ['6', 0] }),
    },
    { prompt: 'p' },
    ['override_ambiguous #/overrides/prompt'],
    '4 (StyledEncode)',
  ],
  [
    'conditioning with crossed links',
    through({ '4': node('ControlNetApplyAdvanced', both) }, ['4', 1], ['4', 0]),
    PROMPTS,
    ['override_ambiguous #/overrides/negative_prompt', 'override_ambiguous #/overrides/prompt'],
    '4 (ControlNetApplyAdvanced)',
  ],
  [
    'the text of a box in a node that passes on the prompt',
    through(
      { '4': node('GLIGENTextBoxApply', { conditioning_to: ['2', 0], clip: ['1', 1], text: 'a hat', width: 64 }) },
      ['4', 0],
      ['3', 0],
    ),
    { prompt: 'p' },
    ['override_ambiguous #/overrides/prompt'],
    '4 (GLIGENTextBoxApply)',
  ],
  [
    'the prompt of a language model',
    { ...BASE, '2': text(['9', 0]), '9': node('OllamaGenerate', { prompt: 'Describe a cat', model: 'x' }) },
    { prompt: 'p' },
    ['override_ambiguous #/overrides/prompt'],
    '2 (CLIPTextEncode)',
  ],
  [
    'the text that a node shows, when it passes on another',
    {
      ...BASE,
      '2': text(['9', 0]),
      '9': node('easy showAnything', { text: 'shown last', anything: ['10', 0] }),
      '10': node('StringConcatenate', { string_a: 'a', string_b: 'cat' }),
    },
    { prompt: 'p' },
    ['override_ambiguous #/overrides/prompt'],
    '2 (CLIPTextEncode)',
  ],
  [
    'the seed of a node that computes a width',
    {
      ...BASE,
      '5': node('EmptyLatentImage', { width: ['9', 0], height: 512 }),
      '9': node('RandomInt', { min: 256, max: 1024, seed: 3 }),
    },
    { width: 640 },
    ['override_ambiguous #/overrides/width'],
    '5 (EmptyLatentImage)',
  ],
  [
    'the final resize, when a preset gives the first size',
    {
      ...BASE,
      '5': node('SDXLEmptyLatentSizePicker+', { resolution: '1024x1024 (1.0)', batch_size: 1 }),
      '9': node('ImageScale', { image: ['7', 0], width: 2048, height: 2048 }),
    },
    { width: 640 },
    ['override_not_found #/overrides/width'],
    '5 (SDXLEmptyLatentSizePicker+)',
  ],
  [
    'a width that a preset replaces',
    {
      '2': node('easy fullLoader', { ...EASY.inputs, resolution: '512 x 512' }),
      '6': node('easy kSampler', { pipe: ['2', 0] }),
    },
    { width: 640 },
    ['override_not_found #/overrides/width'],
    '2 (easy fullLoader)',
  ],
  [
    'a size that another node changes before the sampler',
    {
      ...PICTURE,
      '33': node('ImageScaleToTotalPixels', { image: ['31', 0], megapixels: 1 }),
      '32': node('VAEEncode', { pixels: ['33', 0], vae: ['1', 2] }),
    },
    { width: 640 },
    ['override_not_found #/overrides/width'],
    '33 (ImageScaleToTotalPixels)',
  ],
  [
    'the seed of another node, when the sampler has no seed input',
    {
      ...BASE,
      '6': node('OddSampler', { ...both, latent_image: ['5', 0], dice: 1 }),
      '9': WILDCARD,
      '10': node('TextGenerate', { prompt: 'x', seed: 4, steps: 3 }),
    },
    { seed: 9, steps: 2 },
    ['override_not_found #/overrides/seed', 'override_not_found #/overrides/steps'],
    'The workflow has no input for seed',
  ],
  [
    'a background, in a graph without a sampler that also resizes an image',
    {
      '1': node('EmptyImage', { width: 512, height: 512, color: 0 }),
      '2': node('LoadImage', { image: 'x.png' }),
      '3': node('ImageResize+', { image: ['2', 0], width: 1024, height: 1024 }),
    },
    { width: 640 },
    ['override_ambiguous #/overrides/width'],
    '1 (EmptyImage), 3 (ImageResize+)',
  ],
  [
    'metadata of a file, in a graph without a sampler',
    {
      '1': node('Image Saver', { positive: '', negative: '', images: ['2', 0] }),
      '2': node('Upscale', { image: ['3', 0] }),
      '3': node('LoadImage', { image: 'x.png' }),
    },
    PROMPTS,
    ['override_not_found #/overrides/negative_prompt', 'override_not_found #/overrides/prompt'],
    'The workflow has no input for prompt',
  ],
];

describe('an override is rejected instead of setting', () => {
  it.each(REFUSED)('%s', (_title, graph, overrides, at, names) => {
    const result = shaped(graph, { overrides });
    expect(result.at).toEqual(at);
    expect(result.changed).toEqual({});
    expect(result.issues.map(({ detail }) => detail).join()).toContain(names);
  });
});
