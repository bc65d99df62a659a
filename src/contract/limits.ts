import { z } from 'zod';
import { PART_URL_LIFE_S } from './assets.ts';
import { MAX_PARTS, PART_BYTES } from './worker.ts';
import { MAX_KEPT_S, MAX_POLL_S, MAX_WAIT_S, MIN_FINISH_S, MIN_KEPT_S, MIN_WAIT_S } from './timeouts.ts';

/**
 * Every limit and time that can be configured, in one table. The schemas of the variables LIMITS and POLICY, the limits
 * that an account can have of its own, and docs/reference/configuration.md come from it. To add a limit, add a row, and
 * run `npm run docs`.
 */

/** What a row says beside its schema, for the documents. */
export type LimitInfo = {
  unit: 'bytes' | 'seconds' | 'pixels' | 'US dollars' | 'count';
  /** What it limits. */
  text: string;
  /** The reason or the source of the default or of a bound. */
  reason?: string;
};

/** The information on each row. */
export const limitInfo = z.registry<LimitInfo>();

type Bounds = { min: number; max?: number };

const bounded = (schema: z.ZodNumber, { min, max }: Bounds) =>
  max === undefined ? schema.min(min) : schema.min(min).max(max);

/** A whole number. */
const count = (value: number, { min = 1, max, ...info }: Partial<Bounds> & LimitInfo) =>
  bounded(z.int(), max === undefined ? { min } : { min, max })
    .default(value)
    .register(limitInfo, info);

const seconds = (value: number, { min, max, ...info }: Bounds & Omit<LimitInfo, 'unit'>) =>
  bounded(z.number(), max === undefined ? { min } : { min, max })
    .default(value)
    .register(limitInfo, { ...info, unit: 'seconds' });

/** A wait in a run. */
const grace = (value: number, info: Omit<LimitInfo, 'unit'>) =>
  seconds(value, { min: MIN_WAIT_S, max: MAX_WAIT_S, ...info });

/** How long something is kept. */
const kept = (value: number, info: Omit<LimitInfo, 'unit'>) =>
  seconds(value, { min: MIN_KEPT_S, max: MAX_KEPT_S, ...info });

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const DAY_S = 86_400;

/** Limits of an account. An account can have its own (`OWN_LIMITS`). */
export const ACCOUNT_LIMITS = {
  jobs_in_flight: count(20, { unit: 'count', text: 'slots: jobs that are active at the same time' }),
  max_queued: count(100, { min: 0, unit: 'count', text: 'jobs that wait for a slot' }),
  submits_per_minute: count(120, { unit: 'count', text: 'submits in a minute' }),
  usd_per_day: z.number().min(0).optional().register(limitInfo, { unit: 'US dollars', text: 'budget of a UTC day' }),
  gpu_seconds_per_day: z
    .number()
    .min(0)
    .optional()
    .register(limitInfo, { unit: 'seconds', text: 'budget of a UTC day' }),
  stored_bytes: z.int().min(1).optional().register(limitInfo, {
    unit: 'bytes',
    text: 'assets and open uploads; a deleted upload counts until its URLs have expired',
  }),
};

/** Limits of a request, a file or a job. */
export const REQUEST_LIMITS = {
  max_body_bytes: count(32 * MiB, {
    unit: 'bytes',
    text: 'a JSON body with its files',
    reason: 'Base64 inputs are in the body; Workers accept 100 MB on every plan (reference/cloudflare.md section 4).',
  }),
  max_asset_bytes: count(100 * MiB, { unit: 'bytes', text: 'a file in one request' }),
  max_upload_bytes: count(4 * GiB, {
    max: Math.floor(4.995 * GiB),
    unit: 'bytes',
    text: 'a file in parts',
    reason: 'A file in parts ends as one put, which R2 accepts up to 4.995 GiB (reference/cloudflare.md section 5).',
  }),
  max_open_uploads: count(16, { min: 0, unit: 'count', text: 'open uploads of an account' }),
  max_image_pixels: count(178_956_970, {
    unit: 'pixels',
    text: 'one image',
    reason: 'Pillow, which ComfyUI decodes with, refuses more (twice its `MAX_IMAGE_PIXELS`).',
  }),
  max_animation_pixels: count(1_000_000_000, {
    unit: 'pixels',
    text: 'all frames or pages of a file',
    reason: 'ComfyUI holds them all at once, at 12 bytes or more each (nodes.py).',
  }),
  max_workflow_bytes: count(MiB, {
    max: 1_900_000,
    unit: 'bytes',
    text: 'a workflow, and each of `variables`, `params` and `overrides`',
    reason: "A row of a Durable Object's SQLite holds at most 2 MB (reference/cloudflare.md section 2).",
  }),
  max_nodes: count(2000, { unit: 'count', text: 'nodes of a workflow' }),
  max_inputs: count(32, { unit: 'count', text: 'input files of a job' }),
  max_outputs: count(1000, {
    max: 5000,
    unit: 'count',
    text: 'outputs of a job',
    reason:
      'Each is looked up in R2 before a job succeeds: calls that one request may make (reference/cloudflare.md section 4).',
  }),
  max_output_bytes: count(5 * GiB, {
    max: MAX_PARTS * PART_BYTES,
    unit: 'bytes',
    text: 'one output',
    reason: 'R2 accepts 10,000 parts for one file (reference/cloudflare.md section 5), of the size that workers use.',
  }),
  max_watchers: count(2000, {
    max: 32_000,
    unit: 'count',
    text: 'event streams of a job',
    reason:
      "A Durable Object holds 32,768 sockets, the worker's among them (reference/cloudflare.md section 2); sending an event to " +
      '2,000 takes it some 25 ms (docs/operations/benchmarks.md), and a worker sends up to four a second.',
  }),
};

/** Times of a job, in seconds, and its attempts. */
export const POLICY_TIMES = {
  finish_within: seconds(900, { min: MIN_FINISH_S, text: 'deadline of a job that names none' }),
  max_finish_within: seconds(DAY_S, {
    min: MIN_FINISH_S,
    max: 6 * DAY_S,
    text: 'the longest deadline that a request may name',
    reason: 'RunPod forgets a run after 7 days, however long it may take (reference/runpod.md 2.2).',
  }),
  max_attempts: count(2, { max: 10, unit: 'count', text: 'attempts of a job that a worker claimed' }),
  channel_grace: grace(30, { text: 'how long a worker may be without a channel before its attempt is lost' }),
  claim_grace: grace(60, { text: 'how long a run with an unknown outcome may still be claimed' }),
  poll_interval: seconds(30, {
    min: MIN_WAIT_S,
    max: MAX_POLL_S,
    text: 'time between two polls of a run at RunPod',
    reason: 'Far inside of the 30 minutes for which RunPod keeps a result (reference/runpod.md 2.5).',
  }),
  cancel_grace: grace(15, { text: 'how long a worker has to report after a cancel' }),
  deadline_grace: grace(30, { text: 'how long a worker has to report after the deadline' }),
  retention: kept(7 * DAY_S, { text: 'how long a finished job is kept, with its log and its outputs' }),
  asset_retention: kept(30 * DAY_S, { text: 'how long an asset is kept after its last use' }),
  upload_retention: seconds(DAY_S, {
    min: PART_URL_LIFE_S,
    max: 7 * DAY_S,
    text: 'how long an idle upload is kept; reading its progress starts the time again',
    reason: 'Not less than the life of the URL of a part.',
  }),
};

/**
 * The limits that an account can have of its own, and their bounds: the body of `PUT /v1/accounts/{account}/limits`.
 */
export const OWN_LIMITS = {
  jobs_in_flight: z.int().min(0).max(1_000_000).optional(),
  max_queued: z.int().min(0).max(1_000_000).optional(),
  submits_per_minute: z.int().min(0).max(1_000_000).optional(),
  usd_per_day: z.number().min(0).max(1_000_000).optional(),
  gpu_seconds_per_day: z.number().min(0).max(1_000_000_000).optional(),
  stored_bytes: z.int().min(0).optional(),
  retention: z.number().positive().max(MAX_KEPT_S).optional(),
  asset_retention: z.number().positive().max(MAX_KEPT_S).optional(),
};

/** Sizes and counts. A request that exceeds one is refused with a 4xx that names the limit. */
export const limitsSchema = z.strictObject({ ...ACCOUNT_LIMITS, ...REQUEST_LIMITS });
export type Limits = z.infer<typeof limitsSchema>;

/** Times a job lives by, in seconds. */
export const policySchema = z
  .strictObject(POLICY_TIMES)
  .refine((policy) => policy.finish_within <= policy.max_finish_within, {
    message: 'must not be above max_finish_within',
    path: ['finish_within'],
  });
export type Policy = z.infer<typeof policySchema>;

export const ownLimitsSchema = z.strictObject(OWN_LIMITS).meta({ id: 'LimitsChange' });
/** The limits that an account has of its own. The others are as configured. */
export type OwnLimits = z.infer<typeof ownLimitsSchema>;

/** The limits of an account: its own where it has some, else the configured ones. */
export type AccountLimits = Pick<Limits & Policy, keyof OwnLimits>;
