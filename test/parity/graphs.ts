/** A job that both ComfyUIs are given. */
export interface ParityCase {
  name: string;
  workflow: Record<string, { class_type: string; inputs: Record<string, unknown> }>;
}

/** What every graph loads: uploaded as an input of each job under this name. */
export const PHOTO = 'photo.png';

const load = { class_type: 'LoadImage', inputs: { image: PHOTO } };
const save = (from: string, filename_prefix: string) => ({
  class_type: 'SaveImage',
  inputs: { images: [from, 0], filename_prefix },
});
const scale = (from: string, width: number, height: number, upscale_method: string, crop = 'disabled') => ({
  class_type: 'ImageScale',
  inputs: { image: [from, 0], upscale_method, width, height, crop },
});
const empty = (width: number, height: number, color: number, batch_size = 1) => ({
  class_type: 'EmptyImage',
  inputs: { width, height, batch_size, color },
});

/**
 * One graph for each thing that could differ, of nodes that need no model (the CPU engine has no others); the last two are run
 * twice, so that the second finds a warm cache.
 */
export const CASES: readonly ParityCase[] = [
  { name: 'load and save', workflow: { '1': load, '2': save('1', 'photo') } },
  {
    name: 'scale, every method',
    workflow: Object.fromEntries([
      ['1', load],
      ...['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos'].flatMap((method, index) => [
        [`${index + 10}`, scale('1', 151, 203, method, 'center')],
        [`${index + 20}`, save(`${index + 10}`, `scaled/${method}`)],
      ]),
    ]),
  },
  {
    name: 'blur, sharpen, invert, crop, pad',
    workflow: {
      '1': load,
      '2': { class_type: 'ImageBlur', inputs: { image: ['1', 0], blur_radius: 5, sigma: 2.0 } },
      '3': { class_type: 'ImageSharpen', inputs: { image: ['2', 0], sharpen_radius: 2, sigma: 1.0, alpha: 0.7 } },
      '4': { class_type: 'ImageInvert', inputs: { image: ['3', 0] } },
      '5': { class_type: 'ImageCrop', inputs: { image: ['4', 0], width: 100, height: 80, x: 31, y: 17 } },
      '6': {
        class_type: 'ImagePadForOutpaint',
        inputs: { image: ['5', 0], left: 16, top: 8, right: 24, bottom: 0, feathering: 12 },
      },
      '7': save('6', 'padded'),
      '8': save('2', 'blurred'),
    },
  },
  {
    name: 'composite with a mask, blend',
    workflow: {
      '1': load,
      '2': empty(90, 70, 0xcc3366),
      '3': { class_type: 'SolidMask', inputs: { value: 0.6, width: 90, height: 70 } },
      '4': { class_type: 'FeatherMask', inputs: { mask: ['3', 0], left: 20, top: 20, right: 10, bottom: 10 } },
      '5': {
        class_type: 'ImageCompositeMasked',
        inputs: { destination: ['1', 0], source: ['2', 0], x: 40, y: 30, resize_source: false, mask: ['4', 0] },
      },
      '6': scale('1', 90, 70, 'bilinear'),
      '7': {
        class_type: 'ImageBlend',
        inputs: { image1: ['2', 0], image2: ['6', 0], blend_factor: 0.35, blend_mode: 'soft_light' },
      },
      '8': save('5', 'composite'),
      '9': save('7', 'blend'),
    },
  },
  {
    name: 'batch of two sizes, preview',
    workflow: {
      '1': load,
      '2': empty(64, 48, 0x3366cc),
      '3': { class_type: 'ImageBatch', inputs: { image1: ['2', 0], image2: ['1', 0] } },
      '4': save('3', 'batch'),
      '5': { class_type: 'PreviewImage', inputs: { images: ['3', 0] } },
    },
  },
  {
    name: 'animated WEBP',
    workflow: {
      '1': load,
      '2': empty(96, 64, 0x22aa44, 2),
      '3': { class_type: 'ImageBatch', inputs: { image1: ['2', 0], image2: ['1', 0] } },
      '4': {
        class_type: 'SaveAnimatedWEBP',
        inputs: { images: ['3', 0], filename_prefix: 'anim', fps: 6, lossless: true, quality: 80, method: 'default' },
      },
    },
  },
  {
    name: 'video, MP4 and WEBM',
    workflow: {
      '1': load,
      '2': scale('1', 128, 96, 'area'),
      '3': { class_type: 'RepeatImageBatch', inputs: { image: ['2', 0], amount: 8 } },
      '4': { class_type: 'CreateVideo', inputs: { images: ['3', 0], fps: 8 } },
      '5': {
        class_type: 'SaveVideo',
        inputs: { video: ['4', 0], filename_prefix: 'video/v', format: 'auto', codec: 'auto' },
      },
      '6': {
        class_type: 'SaveWEBM',
        inputs: { images: ['3', 0], filename_prefix: 'w', codec: 'vp9', fps: 8, crf: 32 },
      },
    },
  },
  {
    name: 'text',
    workflow: {
      '1': { class_type: 'PrimitiveString', inputs: { value: 'größe ✓' } },
      '2': {
        class_type: 'StringConcatenate',
        inputs: { string_a: ['1', 0], string_b: 'b', delimiter: ' | ' },
      },
      '3': { class_type: 'PreviewAny', inputs: { source: ['2', 0] } },
      '4': { class_type: 'PrimitiveInt', inputs: { value: 42 } },
      '5': { class_type: 'PreviewAny', inputs: { source: ['4', 0] } },
    },
  },
  {
    name: 'a node raises',
    workflow: {
      '1': empty(64, 64, 0x3366cc),
      '9': { class_type: 'Explode', inputs: { image: ['1', 0] } },
      '2': save('9', 't'),
    },
  },
  {
    name: 'a value out of range',
    workflow: { '1': empty(999_999, 64, 0), '2': save('1', 't') },
  },
  {
    name: 'one of two outputs invalid',
    workflow: {
      '1': empty(64, 64, 0x3366cc),
      '2': save('1', 'good'),
      '9': { class_type: 'LoadImage', inputs: { image: 'missing.png' } },
      '3': save('9', 'bad'),
    },
  },
  ...['cold', 'warm'].map((cache) => ({
    name: `steps with previews, ${cache}`,
    workflow: {
      '1': empty(80, 80, 0x99_bb_dd),
      '5': { class_type: 'SlowSteps', inputs: { image: ['1', 0], steps: 8, seconds: 2, preview: true } },
      '2': save('5', 'slow'),
    },
  })),
  ...['cold', 'warm'].map((cache) => ({
    name: `one picture, ${cache}`,
    workflow: { '1': empty(72, 72, 0x12_34_56), '2': save('1', 'same') },
  })),
];
