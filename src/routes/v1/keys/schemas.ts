import { z } from '@hono/zod-openapi';
import { nodePolicySchema } from '../../../config/schema.ts';
import type { KeyRecord } from '../../../services/auth/actor.ts';
import { prefixOf } from '../../../domain/key/format.ts';
import { iso, isoOrNull } from '../../../lib/time.ts';
import { pageOf } from '../page.ts';

/** What v1 answers about keys. */

const time = z.iso.datetime({ precision: 3 });
const names = z.array(z.string()).nullable();

export const keySchema = z
  .object({
    id: z.uuid(),
    object: z.literal('key'),
    account: z.string(),
    environment: z.enum(['live', 'test']),
    name: z.string(),
    prefix: z.string(),
    hint: z.string(),
    scopes: z.array(z.string()),
    expires_at: time.nullable(),
    ip_allow: names,
    endpoints: names,
    templates: names,
    nodes: nodePolicySchema.nullable(),
    created_at: time,
    last_used_at: time.nullable(),
    rotated_at: time.nullable(),
    previous_expires_at: time.nullable(),
    revoked_at: time.nullable(),
  })
  .openapi('Key');
export type ApiKey = z.infer<typeof keySchema>;

export const keyWithSecretSchema = keySchema.extend({ key: z.string() }).openapi('KeyWithSecret');

export const keyPageSchema = pageOf(keySchema).openapi('KeyPage');

export const renderKey = (key: KeyRecord): ApiKey => ({
  id: key.id,
  object: 'key',
  account: key.account,
  environment: key.environment,
  name: key.name,
  prefix: prefixOf(key.environment),
  hint: key.hint,
  scopes: key.scopes,
  expires_at: isoOrNull(key.expires_at),
  ip_allow: key.ip_allow,
  endpoints: key.endpoints,
  templates: key.templates,
  nodes: key.nodes,
  created_at: iso(key.created_at),
  last_used_at: isoOrNull(key.last_used_at),
  rotated_at: isoOrNull(key.rotated_at),
  previous_expires_at: isoOrNull(key.previous_expires_at),
  revoked_at: isoOrNull(key.revoked_at),
});
