import { z } from 'zod';
import { nodePolicySchema } from '../../config/schema.ts';
import { parseRange } from '../../domain/net/cidr.ts';
import type { ServiceContext } from '../context.ts';
import { parseBody } from '../../domain/validation.ts';
import { timestampText } from '../../domain/formats.ts';
import { pointer, quote, type Problem, type Issue } from '../../domain/problems.ts';
import type { Result } from '../../domain/result.ts';
import { ENVIRONMENTS } from '../../domain/key/format.ts';
import { GRANTS } from '../../domain/key/scopes.ts';

/** Bodies of the key routes (docs/guides/keys.md). */

/** Account names are part of R2 keys and object names, so they contain no slash, no dot and no upper case. */
export const ACCOUNT_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const MAX_NAME_CHARS = 100;
/** Limits the size of a key's row, which the first request of a key in each isolate reads. */
const MAX_RANGES = 50;
const MAX_LIST_ITEMS = 100;
const MAX_LIST_ITEM_CHARS = 200;

/** The default and the maximum grace period of an old secret, in seconds. */
const DEFAULT_GRACE_S = 86_400;
export const MAX_GRACE_S = 7 * 86_400;

export const accountName = z
  .string()
  .regex(ACCOUNT_NAME, 'must be 1 to 63 characters of a-z, 0-9, "_" and "-", and begin with a letter or digit');
const names = z.array(z.string().min(1).max(MAX_LIST_ITEM_CHARS)).max(MAX_LIST_ITEMS);
const range = z
  .string()
  .refine((text) => parseRange(text) !== null, 'must be an IP address or a CIDR range without bits beyond its prefix')
  .meta({ description: 'An IP address, or a CIDR range without bits beyond its prefix' });
const nodes = nodePolicySchema.extend({ allow: names.optional(), deny: names.optional() });

const name = z.string().max(MAX_NAME_CHARS);
const scopes = z.array(z.enum(GRANTS)).min(1).max(GRANTS.length);
/** `null` removes a restriction. */
const bounds = {
  expires_at: timestampText.nullable().optional(),
  ip_allow: z.array(range).min(1).max(MAX_RANGES).nullable().optional(),
  endpoints: names.min(1).nullable().optional(),
  templates: names.min(1).nullable().optional(),
  nodes: nodes.nullable().optional(),
};

/** Body of `POST /v1/keys`. */
export const newKeySchema = z
  .strictObject({
    account: accountName.optional(),
    environment: z.enum(ENVIRONMENTS),
    name: name.default(''),
    scopes: scopes.optional(),
    ...bounds,
  })
  .meta({ id: 'KeyRequest' });

/** Body of `PATCH /v1/keys/{id}`. Missing fields do not change. */
export const keyChangeSchema = z
  .strictObject({ name: name.optional(), scopes: scopes.optional(), ...bounds })
  .meta({ id: 'KeyChange' });

/** Body of `POST /v1/keys/{id}/rotate`. `grace`: seconds during which the old secret still works; 0 ends it at once. */
export const rotationSchema = z
  .strictObject({ grace: z.number().min(0).max(MAX_GRACE_S).default(DEFAULT_GRACE_S) })
  .meta({ id: 'KeyRotation' });

/**
 * The largest body of a key route, in bytes: the longest allowed lists, with every character written as an escape.
 */
export const MAX_KEY_BODY_BYTES = 512 * 1024;

/**
 * The largest body of `POST /v1/keys/revoke`, in bytes. A secret has fewer than 50 characters, and the route needs no
 * key.
 */
export const MAX_REVOCATION_BYTES = 1024;

/** Body of `POST /v1/keys/revoke`. */
export const revocationSchema = z
  .strictObject({ key: z.string().max(MAX_LIST_ITEM_CHARS) })
  .meta({ id: 'KeyRevocation' });

/** Parses the body with a schema and checks its content. Reports all issues together. */
export function checkBody<T extends z.ZodType>(
  schema: T,
  body: unknown,
  context: ServiceContext,
): Result<z.infer<T>, Problem> {
  return parseBody(schema, body, contentIssues(body, context));
}

/**
 * Checks what a schema cannot: that times are in the future, and that endpoints exist. A misspelled endpoint would
 * silently lock out a key.
 */
function contentIssues(body: unknown, context: ServiceContext): Issue[] {
  const given = z
    .object({
      expires_at: timestampText.optional().catch(undefined),
      endpoints: names.optional().catch(undefined),
    })
    .catch({})
    .parse(body);
  const issues: Issue[] = [];
  if (given.expires_at !== undefined && Date.parse(given.expires_at) <= context.clock()) {
    issues.push({ pointer: '#/expires_at', code: 'out_of_range', detail: '"expires_at" must be in the future.' });
  }
  for (const [at, endpoint] of (given.endpoints ?? []).entries()) {
    if (!Object.hasOwn(context.config.endpoints, endpoint)) {
      const detail = `Endpoint ${quote(endpoint)} does not exist.`;
      issues.push({ pointer: pointer(['endpoints', at]), code: 'unknown_endpoint', detail });
    }
  }
  return issues;
}
