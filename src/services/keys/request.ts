import { z } from 'zod';
import { nodePolicySchema } from '../../config/schema.ts';
import { parseRange } from '../../domain/net/cidr.ts';
import type { Core } from '../context.ts';
import { faultsOf } from '../../domain/validation.ts';
import { timestampText } from '../../domain/formats.ts';
import { invalidRequest, pointer, quote, type CoreProblem, type Fault } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { ENVIRONMENTS } from '../../domain/key/format.ts';
import { GRANTS } from '../../domain/key/scopes.ts';

/** Bodies of the calls about keys (docs/guides/keys.md). */

/** Part of storage keys in R2 and of names of objects, hence no slash, no dot and no upper case. */
export const ACCOUNT_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const MAX_NAME_CHARS = 100;
/** Bounds a key's row, which is read with every first request of a key in an isolate. */
const MAX_RANGES = 50;
const MAX_LISTED = 100;
const MAX_LISTED_CHARS = 200;

/** How long the old secret goes on working unless the client says otherwise, and at most, in seconds. */
const USUAL_GRACE_S = 86_400;
export const MAX_GRACE_S = 7 * 86_400;

export const accountName = z
  .string()
  .regex(ACCOUNT_NAME, 'must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit');
const names = z.array(z.string().min(1).max(MAX_LISTED_CHARS)).max(MAX_LISTED);
const range = z
  .string()
  .refine((text) => parseRange(text) !== null, 'must be an IP address or a CIDR range without bits beyond its prefix')
  .meta({ description: 'An IP address, or a CIDR range without bits beyond its prefix' });
const nodes = nodePolicySchema.extend({ allow: names.optional(), deny: names.optional() });

const name = z.string().max(MAX_NAME_CHARS);
const scopes = z.array(z.enum(GRANTS)).min(1).max(GRANTS.length);
/** `null` takes a bound away. */
const bounds = {
  expires_at: timestampText.nullable().optional(),
  ip_allow: z.array(range).min(1).max(MAX_RANGES).nullable().optional(),
  endpoints: names.min(1).nullable().optional(),
  templates: names.min(1).nullable().optional(),
  nodes: nodes.nullable().optional(),
};

/** Body of `POST /v1/keys`. */
export const newKeySchema = z.strictObject({
  account: accountName.optional(),
  environment: z.enum(ENVIRONMENTS),
  name: name.default(''),
  scopes: scopes.optional(),
  ...bounds,
});

/** Body of `PATCH /v1/keys/{id}`: what it does not name stays. */
export const keyChangeSchema = z.strictObject({ name: name.optional(), scopes: scopes.optional(), ...bounds });

/** Body of `POST /v1/keys/{id}/rotate`. `grace`: seconds that the old secret goes on working; 0 ends it at once. */
export const rotationSchema = z.strictObject({ grace: z.number().min(0).max(MAX_GRACE_S).default(USUAL_GRACE_S) });

/** Largest body of a call about a key, in bytes: its four lists of names at their longest, every character written as an escape. */
export const MAX_KEY_BODY_BYTES = 512 * 1024;

/** Largest body of `POST /v1/keys/revoke`, in bytes: a secret has fewer than 50 characters, and nobody has to be known to send one. */
export const MAX_REVOCATION_BYTES = 1024;

/** Body of `POST /v1/keys/revoke`. */
export const revocationSchema = z.strictObject({ key: z.string().max(MAX_LISTED_CHARS) });

/** The body in its schema; faults of its shape and of what it names come together. */
export function checkBody<T extends z.ZodType>(schema: T, body: unknown, core: Core): Result<z.infer<T>, CoreProblem> {
  const parsed = schema.safeParse(body);
  const faults: Fault[] = [...(parsed.success ? [] : faultsOf(parsed.error)), ...contentFaults(body, core)];
  const [first, ...rest] = faults;
  if (first !== undefined) {
    return fail(invalidRequest([first, ...rest]));
  }
  return parsed.success ? ok(parsed.data) : fail({ code: 'invalid_request', detail: 'the body is not valid' });
}

/** What a schema cannot know: the time, and which endpoints there are. A misspelt endpoint would lock a key out silently. */
function contentFaults(body: unknown, core: Core): Fault[] {
  const seen = z
    .object({
      expires_at: timestampText.optional().catch(undefined),
      endpoints: names.optional().catch(undefined),
    })
    .catch({})
    .parse(body);
  const faults: Fault[] = [];
  if (seen.expires_at !== undefined && Date.parse(seen.expires_at) <= core.clock()) {
    faults.push({ pointer: '#/expires_at', code: 'out_of_range', detail: '"expires_at" must be in the future' });
  }
  for (const [at, endpoint] of (seen.endpoints ?? []).entries()) {
    if (!Object.hasOwn(core.config.endpoints, endpoint)) {
      const detail = `there is no endpoint ${quote(endpoint)}`;
      faults.push({ pointer: pointer(['endpoints', at]), code: 'unknown_endpoint', detail });
    }
  }
  return faults;
}
