import type { ApiJob } from './schemas.ts';

/**
 * Examples of requests and responses in the OpenAPI document that are too long for the routes that have them. Tests
 * check them against the schemas beside them and send every request as it is.
 */

const ID = '0192f0c1-7c3e-7d52-9a51-3f2a6f8f1c11';
const SELF = `https://gateway.example/v1/jobs/${ID}`;

const TOKEN = `ce_read_${ID}-9f86d081884c.1800000000.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`;

const SHA256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

const WORKFLOW = {
  '3': {
    class_type: 'KSampler',
    inputs: {
      seed: 42,
      steps: 20,
      cfg: 8,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['4', 0],
      positive: ['6', 0],
      negative: ['7', 0],
      latent_image: ['5', 0],
    },
  },
  '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'v1-5-pruned-emaonly.safetensors' } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: '{{ PROMPT }}', clip: ['4', 1] } },
  '7': { class_type: 'CLIPTextEncode', inputs: { text: 'text, watermark', clip: ['4', 1] } },
  '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
  '9': { class_type: 'SaveImage', inputs: { filename_prefix: 'castle', images: ['8', 0] } },
};

export const SUBMIT = {
  workflow: WORKFLOW,
  variables: { PROMPT: 'a castle at dawn' },
  overrides: { seed: 'random', width: 768 },
  metadata: { order: '4711' },
  finish_within: 300,
};

export const QUEUED_JOB: ApiJob = {
  id: ID,
  object: 'job',
  status: 'queued',
  stage: 'capacity',
  endpoint: 'default',
  created_at: '2026-11-21T06:00:00.000Z',
  started_at: null,
  completed_at: null,
  deadline: '2026-11-21T06:05:00.000Z',
  start_deadline: null,
  expires_at: '2026-11-28T06:05:00.000Z',
  queue_position: null,
  progress: null,
  outputs: [],
  attempts: [],
  resolved: {
    seeds: [{ node: '3', input: 'seed', value: 1_804_289_383, random: true }],
    overrides: [
      { field: 'seed', node: '3', input: 'seed' },
      { field: 'width', node: '5', input: 'width' },
    ],
    clamped: [],
    warnings: [],
  },
  error: null,
  usage: null,
  metrics: { queue_ms: null, cold_start_ms: null, execution_ms: null, upload_ms: null, total_ms: null },
  metadata: { order: '4711' },
  urls: { self: SELF, events: `${SELF}/events`, cancel: `${SELF}/cancel`, result: `${SELF}/result` },
  last_event: 1,
};

export const WEBHOOK = { url: 'https://shop.example.com/hooks/comfy', events: ['job.succeeded', 'job.failed'] };

export const UPLOAD = { name: 'portrait.mp4', size_bytes: 734_003_200, sha256: SHA256 };

export const READ_TOKEN = {
  object: 'read_token',
  token: TOKEN,
  job: ID,
  expires_at: '2026-11-21T06:10:00.000Z',
  urls: { self: SELF, events: `${SELF}/events?token=${TOKEN}` },
};

/** A refusal, for every route that takes a body. */
export const REFUSAL_EXAMPLE = {
  type: 'https://gateway.example/problems/dangling_link',
  title: 'A link points to a missing node',
  status: 422,
  detail: 'Node "9" takes "images" from node "8", which does not exist.',
  code: 'dangling_link',
  request_id: '0192f0c1-0000-7000-8000-000000000000',
  errors: [
    {
      pointer: '#/workflow/9/inputs/images',
      code: 'dangling_link',
      detail: 'Node "9" takes "images" from node "8", which does not exist.',
    },
  ],
};
