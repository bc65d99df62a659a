import { z } from 'zod';
import type { Limits } from '../../config.ts';
import type { Fault } from '../problems.ts';
import { isRecord } from '../workflows/parse.ts';

/** Body of `POST /v1/jobs`, and what every other door makes of its own protocol's request. Limits: docs/api.md. */

const MAX_FILE_NAME_CHARS = 255;
const MAX_METADATA_PAIRS = 16;
const MAX_METADATA_KEY_CHARS = 64;
const MAX_METADATA_VALUE_CHARS = 512;

const ASSET_ID = /^sha256:[0-9a-f]{64}$/;

const inputSchema = z
  .strictObject({
    name: z.string(),
    asset: z.string().regex(ASSET_ID, 'must be "sha256:" and 64 lower-case hex digits').optional(),
    data: z.string().optional(),
  })
  .refine((input) => (input.asset === undefined) !== (input.data === undefined), 'needs either asset or data');

export const jobRequestSchema = z.strictObject({
  /** Parsed by `workflows/parse.ts`, whose faults say more than a schema can. */
  workflow: z.unknown(),
  inputs: z.array(inputSchema).default([]),
  endpoint: z.string().default('default'),
  metadata: z
    .record(z.string().min(1).max(MAX_METADATA_KEY_CHARS), z.string().max(MAX_METADATA_VALUE_CHARS))
    .default({}),
  options: z
    .strictObject({ previews: z.boolean().default(true), temp_outputs: z.boolean().default(false) })
    .prefault({}),
  finish_within: z.number().positive().optional(),
});
export type JobRequest = z.infer<typeof jobRequestSchema>;
export type InputRequest = JobRequest['inputs'][number];

/** Fields a body can have, with room for typing errors, which are reported by name. */
const MAX_FIELDS = 50;

/**
 * Lists that are longer than allowed. Looked at before anything in them is: a fault for each of half a million entries would
 * fill the isolate.
 */
export function tooMany(body: unknown, limits: Limits): Fault[] {
  if (!isRecord(body)) {
    return [];
  }
  const { inputs, metadata } = body;
  const faults: Fault[] = [];
  const over = (at: string, detail: string): void => {
    faults.push({ pointer: at, code: 'out_of_range', detail });
  };
  if (Object.keys(body).length > MAX_FIELDS) {
    over('#', `a body may have ${MAX_FIELDS} fields`);
  }
  if (Array.isArray(inputs) && inputs.length > limits.max_inputs) {
    over('#/inputs', `a job may have ${limits.max_inputs} inputs`);
  }
  if (isRecord(metadata) && Object.keys(metadata).length > MAX_METADATA_PAIRS) {
    over('#/metadata', `metadata may have ${MAX_METADATA_PAIRS} pairs`);
  }
  return faults;
}

/**
 * Why a name cannot be a file's name on the worker; null when it can. The worker stores it below a folder of its own, so it must
 * be one path segment on any system.
 */
export function fileNameFault(name: string): string | null {
  if (name === '' || new TextEncoder().encode(name).length > MAX_FILE_NAME_CHARS) {
    return `a file name has 1 to ${MAX_FILE_NAME_CHARS} bytes`;
  }
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[/\\\0-\x1f\x7f]/.test(name) || name === '.' || name.includes('..')) {
    return 'a file name may hold no slash, no backslash, no ".." and no control character';
  }
  return null;
}
