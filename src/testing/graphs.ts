import type { Graph } from '../contract/new-job.ts';

/** Real graphs, reduced to the nodes that shaping reads. Node ids and classes are those of the exports. */

const node = (class_type: string, inputs: Record<string, unknown> = {}) => ({ class_type, inputs });

/** One sampler, one size, two encoders: ComfyUI's default graph. */
export const SD15: Graph = {
  '3': node('KSampler', {
    seed: 156680208700286,
    steps: 20,
    cfg: 8,
    sampler_name: 'euler',
    scheduler: 'normal',
    denoise: 1,
    model: ['4', 0],
    positive: ['6', 0],
    negative: ['7', 0],
    latent_image: ['5', 0],
  }),
  '4': node('CheckpointLoaderSimple', { ckpt_name: 'v1-5-pruned-emaonly.safetensors' }),
  '5': node('EmptyLatentImage', { width: 512, height: 512, batch_size: 1 }),
  '6': node('CLIPTextEncode', { text: 'a bottle', clip: ['4', 1] }),
  '7': node('CLIPTextEncode', { text: 'text, watermark', clip: ['4', 1] }),
  '8': node('VAEDecode', { samples: ['3', 0], vae: ['4', 2] }),
  '9': node('SaveImage', { filename_prefix: 'ComfyUI', images: ['8', 0] }),
};

/** The default graph with a second pass at twice the size. */
export const HIRES: Graph = {
  ...SD15,
  '10': node('LatentUpscale', { samples: ['3', 0], width: 1024, height: 1024, upscale_method: 'bilinear' }),
  '11': node('KSampler', {
    seed: 7,
    steps: 20,
    denoise: 0.5,
    latent_image: ['10', 0],
    model: ['4', 0],
    positive: ['6', 0],
    negative: ['7', 0],
  }),
  '9': node('SaveImage', { filename_prefix: 'ComfyUI', images: ['11', 0] }),
};

/** Guider, noise and schedule as nodes of their own; no negative prompt; size and seed in nodes that only hold a value. */
export const FLUX: Graph = {
  '6': node('CLIPTextEncode', { text: ['40', 0], clip: ['11', 0] }),
  '11': node('DualCLIPLoader', { clip_name1: 't5xxl_fp16.safetensors', clip_name2: 'clip_l.safetensors' }),
  '12': node('UNETLoader', { unet_name: 'flux1-dev.safetensors' }),
  '13': node('SamplerCustomAdvanced', {
    noise: ['25', 0],
    guider: ['22', 0],
    sampler: ['16', 0],
    sigmas: ['17', 0],
    latent_image: ['27', 0],
  }),
  '16': node('KSamplerSelect', { sampler_name: 'euler' }),
  '17': node('BasicScheduler', { scheduler: 'simple', steps: 20, denoise: 1, model: ['12', 0] }),
  '22': node('BasicGuider', { model: ['12', 0], conditioning: ['26', 0] }),
  '25': node('RandomNoise', { noise_seed: ['41', 0] }),
  '26': node('FluxGuidance', { guidance: 3.5, conditioning: ['6', 0] }),
  '27': node('EmptySD3LatentImage', { width: ['42', 0], height: ['42', 0], batch_size: 1 }),
  '40': node('PrimitiveStringMultiline', { value: 'a fox' }),
  '41': node('PrimitiveInt', { value: 1 }),
  '42': node('PrimitiveInt', { value: 1024 }),
  '9': node('SaveImage', { filename_prefix: 'flux', images: ['13', 0] }),
};

/** Two samplers that share the steps; size and length on the image-to-video node, through which conditioning passes. */
export const WAN: Graph = {
  '6': node('CLIPTextEncode', { text: '{{ VIDEO_PROMPT }}', clip: ['38', 0] }),
  '7': node('CLIPTextEncode', { text: 'static', clip: ['38', 0] }),
  '38': node('CLIPLoader', { clip_name: 'umt5_xxl.safetensors', type: 'wan' }),
  '50': node('WanImageToVideo', {
    positive: ['6', 0],
    negative: ['7', 0],
    start_image: ['52', 0],
    width: 640,
    height: 640,
    length: 81,
    batch_size: 1,
  }),
  '52': node('LoadImage', { image: '{{ INPUT_IMAGE }}' }),
  '57': node('KSamplerAdvanced', {
    noise_seed: 5,
    add_noise: 'enable',
    steps: 20,
    start_at_step: 0,
    end_at_step: 10,
    positive: ['50', 0],
    negative: ['50', 1],
    latent_image: ['50', 2],
  }),
  '58': node('KSamplerAdvanced', {
    noise_seed: 0,
    add_noise: 'disable',
    steps: 20,
    start_at_step: 10,
    end_at_step: 10_000,
    positive: ['50', 0],
    negative: ['50', 1],
    latent_image: ['57', 0],
  }),
  '61': node('SaveVideo', { filename_prefix: 'video/ComfyUI', video: ['58', 0] }),
};

/** A picture that is changed: its size is that of the node which resizes it. The negative prompt is made of the positive. */
export const IMAGE_TO_IMAGE: Graph = {
  '1': node('LoadImage', { image: 'in.png' }),
  '2': node('ImageScale', { image: ['1', 0], width: 768, height: 512, upscale_method: 'lanczos', crop: 'center' }),
  '3': node('VAEEncode', { pixels: ['2', 0], vae: ['4', 0] }),
  '4': node('VAELoader', { vae_name: 'ae.safetensors' }),
  '5': node('TextEncodeQwenImageEdit', { prompt: 'make it snow', image: ['2', 0] }),
  '6': node('ConditioningZeroOut', { conditioning: ['5', 0] }),
  '7': node('KSampler', { seed: -1, steps: 8, positive: ['5', 0], negative: ['6', 0], latent_image: ['3', 0] }),
};

/** Base and refiner of SDXL, each with encoders of two texts. */
export const SDXL: Graph = {
  '5': node('EmptyLatentImage', { width: 1024, height: 1024, batch_size: 1 }),
  '6': node('CLIPTextEncodeSDXL', { width: 4096, height: 4096, text_g: 'a cat', text_l: 'a cat' }),
  '7': node('CLIPTextEncode', { text: 'blurry' }),
  '15': node('CLIPTextEncode', { text: 'a cat' }),
  '16': node('CLIPTextEncode', { text: 'ugly' }),
  '10': node('KSamplerAdvanced', {
    noise_seed: 1,
    steps: 25,
    end_at_step: 20,
    start_at_step: 0,
    positive: ['6', 0],
    negative: ['7', 0],
    latent_image: ['5', 0],
  }),
  '11': node('KSamplerAdvanced', {
    noise_seed: 1,
    steps: 25,
    end_at_step: 10_000,
    start_at_step: 20,
    positive: ['15', 0],
    negative: ['16', 0],
    latent_image: ['10', 0],
  }),
};

/** A service: prompt and seed on one node, no sampler. */
export const SERVICE: Graph = {
  '1': node('FluxProUltraImageNode', { prompt: 'a boat', seed: 0, aspect_ratio: '16:9' }),
  '2': node('SaveImage', { filename_prefix: 'ComfyUI', images: ['1', 0] }),
};

/** The text that the sampler sees is put together by another node. */
export const COMPUTED: Graph = {
  ...SD15,
  '6': node('CLIPTextEncode', { text: ['20', 0], clip: ['4', 1] }),
  '20': node('StringConcatenate', { string_a: 'a', string_b: 'bottle', delimiter: ' ' }),
};

/** Nothing is sampled. */
export const PLAIN: Graph = {
  '1': node('EmptyImage', { width: 16, height: 16, batch_size: 1, color: 0 }),
  '2': node('SaveImage', { images: ['1', 0], filename_prefix: 't' }),
};
