import { z } from 'zod';
import { PRIORITIES } from '../../contract/admission.ts';
import type { Limits } from '../../contract/limits.ts';
import { MAX_INTEGER } from '../../domain/json.ts';
import type { Issue } from '../../domain/problems.ts';
import { isOutputReference } from './chained.ts';
import { isRecord } from '../../domain/workflow/parse.ts';
import { isLargerThan } from '../../domain/workflow/size.ts';
import { VARIABLE_NAME } from '../../domain/workflow/shaping/variables.ts';

/**
 * Body of `POST /v1/jobs`. Routes of other protocols translate their requests into it. Limits:
 * docs/reference/configuration.md.
 */

const MAX_METADATA_PAIRS = 16;
export const MAX_METADATA_KEY_CHARS = 64;
export const MAX_METADATA_VALUE_CHARS = 512;

const ASSET_ID = /^sha256:[0-9a-f]{64}$/;

const inputSchema = z
  .strictObject({
    name: z.string(),
    asset: z.string().regex(ASSET_ID, 'must be "sha256:" and 64 lower-case hex digits').optional(),
    data: z.string().optional(),
    url: z.string().optional(),
    output: z.string().refine(isOutputReference, 'must be "job:{id}/outputs/{name}"').optional(),
  })
  .refine(
    ({ asset, data, url, output }) => [asset, data, url, output].filter((source) => source !== undefined).length === 1,
    'must have exactly one of "asset", "data", "url" and "output"',
  )
  .meta({ id: 'JobInputRequest' });

/** ComfyUI's MAX_RESOLUTION. It is also far above the frame count of any model. */
const MAX_SIZE = 16_384;
/** The maximum of ComfyUI's samplers. */
const MAX_STEPS = 10_000;
const MAX_NODE_ID_CHARS = 256;

/** A value for the input that the gateway finds, or for a node that the client names. */
const overrideOf = <T extends z.ZodType>(value: T, what: string) =>
  z.union([value, z.strictObject({ value, node: z.string().min(1).max(MAX_NODE_ID_CHARS) })], {
    error: `must be ${what}, or {"value": ${what}, "node": "id of a node"}`,
  });

/** 2^64 - 1 has 20 digits. */
const SEED_DIGITS = /^\d{1,20}$/;
const seed = z.union([
  z.int().min(-1),
  z.bigint().min(0n).max(MAX_INTEGER),
  z.enum(['random', '-1']),
  // One check: a second one would run even when the first failed, and BigInt throws on text that is not an integer.
  z
    .string()
    .refine((digits) => SEED_DIGITS.test(digits) && BigInt(digits) <= MAX_INTEGER)
    .meta({ pattern: SEED_DIGITS.source }),
]);

const text = overrideOf(z.string(), 'a string');

/** An integer from 1 to `max`, as a number or as text, because forms and command lines send text. */
const count = (max: number) => {
  const what = `an integer from 1 to ${max}`;
  const digits = new RegExp(`^\\d{1,${String(max).length}}$`);
  return overrideOf(
    z.union([
      z.int().min(1).max(max),
      z
        .string()
        .refine((value) => digits.test(value) && Number(value) >= 1 && Number(value) <= max, `must be ${what}`)
        .meta({ pattern: digits.source }),
    ]),
    what,
  );
};
const sizeSchema = count(MAX_SIZE);

const overridesSchema = z
  .strictObject({
    prompt: text.optional(),
    negative_prompt: text.optional(),
    seed: overrideOf(seed, 'an integer from 0 to 2^64 - 1 (or its digits as a string), -1 or "random"').optional(),
    width: sizeSchema.optional(),
    height: sizeSchema.optional(),
    length: sizeSchema.optional(),
    steps: count(MAX_STEPS).optional(),
  })
  .meta({ id: 'JobOverrides' });

export const jobRequestSchema = z
  .strictObject({
    /** Parsed by `domain/workflow/parse.ts`, whose issues say more than a schema can. */
    workflow: z.unknown().meta({ type: 'object', minProperties: 1, description: 'A graph in ComfyUI’s API format' }),
    /** Values for `{{ name }}` in the workflow's texts. */
    variables: z
      .record(
        z.string().regex(VARIABLE_NAME, 'must begin with a letter and contain only letters, digits, ".", "_" and "-"'),
        z.union([z.string(), z.number(), z.bigint(), z.boolean()], {
          error: 'must be a string, a number or a boolean',
        }),
      )
      .optional(),
    /** Inputs to set, by node. */
    params: z.record(z.string(), z.record(z.string(), z.unknown())).default({}),
    overrides: overridesSchema.prefault({}),
    inputs: z.array(inputSchema).default([]),
    endpoint: z.string().optional(),
    metadata: z
      .record(z.string().min(1).max(MAX_METADATA_KEY_CHARS), z.string().max(MAX_METADATA_VALUE_CHARS))
      .default({}),
    options: z
      .strictObject({
        previews: z.boolean().default(true),
        temp_outputs: z.boolean().default(false),
        /** `false`: outputs without the graph that ComfyUI writes into them. */
        metadata: z.boolean().default(true),
        /** Draws a random value for every seed that the request does not set. */
        randomize_seeds: z.boolean().default(false),
      })
      .meta({ id: 'JobOptions' })
      .prefault({}),
    finish_within: z.number().positive().optional(),
    /** Seconds within which a worker must claim the job; otherwise the job expires. No limit by default. */
    start_within: z.number().positive().optional(),
    /** Seconds to keep the finished job, its log and its outputs, at most the account's retention. */
    retention: z.number().positive().optional(),
    /** The job's priority in the account's queue. */
    priority: z.enum(PRIORITIES).default('normal'),
  })
  .meta({ id: 'JobRequest' });
export type JobRequest = z.infer<typeof jobRequestSchema>;
export type InputRequest = JobRequest['inputs'][number];

/** The most variables in a request, and the most nodes with params. Real graphs use fewer. */
const MAX_VARIABLES = 200;

/** The most fields of a body, with room for misspelled ones, which are reported by name. */
const MAX_FIELDS = 50;

/**
 * Reports collections that are too long. Runs before their entries are checked, because issues for half a million
 * entries would exhaust the isolate's memory. Values for the graph must not be larger than a graph may be.
 */
export function tooMany(body: unknown, limits: Limits): Issue[] {
  if (!isRecord(body)) {
    return [];
  }
  const { inputs, metadata, variables, params, overrides } = body;
  const issues: Issue[] = [];
  const over = (at: string, detail: string): void => {
    issues.push({ pointer: at, code: 'out_of_range', detail });
  };
  if (Object.keys(body).length > MAX_FIELDS) {
    over('#', `A body may have at most ${MAX_FIELDS} fields.`);
  }
  if (Array.isArray(inputs) && inputs.length > limits.max_inputs) {
    over('#/inputs', `A job may have at most ${limits.max_inputs} inputs.`);
  }
  if (isRecord(metadata) && Object.keys(metadata).length > MAX_METADATA_PAIRS) {
    over('#/metadata', `"metadata" may have at most ${MAX_METADATA_PAIRS} entries.`);
  }
  if (isRecord(variables) && Object.keys(variables).length > MAX_VARIABLES) {
    over('#/variables', `A request may have at most ${MAX_VARIABLES} variables.`);
  }
  if (isRecord(params) && Object.keys(params).length > limits.max_nodes) {
    over('#/params', `"params" may name at most ${limits.max_nodes} nodes.`);
  }
  for (const [name, value] of Object.entries({ variables, params, overrides })) {
    if (isLargerThan(limits.max_workflow_bytes, value)) {
      const detail = `"${name}" may be at most ${limits.max_workflow_bytes} bytes, the largest size of a workflow.`;
      issues.push({ pointer: `#/${name}`, code: 'workflow_too_large', detail });
    }
  }
  return issues;
}
