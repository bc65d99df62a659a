import { z } from 'zod';

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
    .refine((pairs) => Object.keys(pairs).length <= MAX_METADATA_PAIRS, `may have ${MAX_METADATA_PAIRS} pairs`)
    .default({}),
  options: z
    .strictObject({ previews: z.boolean().default(true), temp_outputs: z.boolean().default(false) })
    .prefault({}),
  finish_within: z.number().positive().optional(),
});
export type JobRequest = z.infer<typeof jobRequestSchema>;
export type InputRequest = JobRequest['inputs'][number];

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
