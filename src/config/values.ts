import { z } from 'zod';
import type { Env } from '../env.ts';
import type { ConfigName } from './names.ts';

/** Schemas of single variables and secrets. Messages name the problem and never quote a value. */

/** Hosts that plain http may be used for; the worker accepts the same (worker-gpu, `is_trusted_url`). */
const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** A base URL, without slashes at its end. Keys, tokens and files are sent to it, so plain http is refused. */
export const baseUrl = z
  .string()
  .trim()
  .transform((text, context) => {
    const url = URL.parse(text);
    const message = url === null ? 'must be a URL' : urlIssue(text, url);
    if (url === null || message !== null) {
      context.addIssue({ code: 'custom', message: message ?? '' });
      return z.NEVER;
    }
    return url.origin + url.pathname.replace(/\/+$/, '');
  });

function urlIssue(text: string, url: URL): string | null {
  const trusted = url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname));
  if (!trusted) {
    return 'must be https; http is for loopback only';
  }
  return /[?#@\\]/.test(text) ? 'must have no user, query or fragment' : null;
}

/** Workers and clients append their own paths (docs/reference/worker-contract.md, ticket). */
export const origin = baseUrl.refine((value) => URL.parse(value)?.origin === value, 'must be an origin: no path');

/** `*`, or an origin as browsers spell it in `Origin`. */
export const pageOrigin = z
  .string()
  .refine(
    (value) => value === '*' || (/^https?:/.test(value) && !value.includes('*') && URL.parse(value)?.origin === value),
    'must be an origin such as https://app.example, or *',
  );

/** A value for a header, where a space or a newline would end it. */
const inHeader = z.string().regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without a space or newline');

/** A secret that the operator chooses. */
export const ownSecret = inHeader.min(32, 'must be at least 32 characters');

/** A secret that a vendor issued. */
export const vendorSecret = inHeader.min(1);

/** Used in URLs without encoding. RunPod's ids are letters and digits; the ids in tests have hyphens. */
export const runpodId = z.string().regex(/^[\w-]+$/, 'must be letters, digits, _ and - only');

/** Used in URLs without encoding. This is R2's rule for names. */
export const bucketName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, 'must be 3 to 63 lower-case letters, digits and - within');

/** A variable with JSON. `missing` is the text for a variable that is not set. */
export const json = <T extends z.ZodType>(schema: T, missing?: string) =>
  z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined && missing === undefined) {
        context.addIssue({ code: 'custom', message: 'is required' });
        return z.NEVER;
      }
      try {
        return JSON.parse(text ?? missing ?? '') as unknown;
      } catch {
        context.addIssue({ code: 'custom', message: 'is not JSON' });
        return z.NEVER;
      }
    })
    .pipe(schema);

/** Secrets that must differ: RunPod receives its key, and must not receive the operator's with it. */
const APART: readonly ConfigName[] = ['TOKEN_SECRET', 'ADMIN_TOKEN', 'RUNPOD_API_KEY', 'R2_SECRET_ACCESS_KEY'];

/** The problems of secrets that are equal to another one. */
export function sharedSecrets(env: Env): string[] {
  return APART.flatMap((name, index) => {
    const value = env[name];
    const same = value === undefined ? undefined : APART.slice(0, index).find((other) => env[other] === value);
    return same === undefined || value === '' ? [] : [`${name}: must not be the same as ${same}`];
  });
}
