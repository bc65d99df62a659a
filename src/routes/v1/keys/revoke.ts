import { revokeBySecret, revokeKey } from '../../../services/keys/manage.ts';
import { MAX_REVOCATION_BYTES, revocationSchema } from '../../../services/keys/request.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { keySchema, renderKey } from './schemas.ts';

const revokeFound = defineRoute({
  method: 'post',
  path: '/keys/revoke',
  access: 'open',
  operationId: 'revokeFoundKey',
  summary: 'Revoke a key by its secret',
  description: 'Needs no key: the secret is enough. The response does not say whether such a key existed.',
  body: jsonBody(revocationSchema, {
    maxBytes: MAX_REVOCATION_BYTES,
    example: { key: 'ce_live_0000000000000000000000000000000000000000' },
  }),
  responses: { 204: { description: 'No key has this secret any more' } },
  async handle(c, { body }) {
    const revoked = await revokeBySecret(c.var.context, body, c.var.requestId);
    return revoked.ok ? c.body(null, 204) : revoked;
  },
});

const revoke = defineRoute({
  method: 'delete',
  path: '/keys/{id}',
  access: { scope: 'keys:write', operator: true },
  operationId: 'revokeKey',
  summary: 'Revoke an API key',
  params: idParams,
  responses: { 200: jsonResponse('The key, revoked', keySchema) },
  async handle(c) {
    const { context, actor } = c.var;
    const revoked = await revokeKey(context, actor, c.req.param('id'));
    return revoked.ok ? c.json(renderKey(revoked.value)) : revoked;
  },
});

/** `DELETE /v1/keys/{id}` for a key that manages keys, and `POST /v1/keys/revoke` for a person who found a secret. */
export const revokeKeyRoutes: readonly Route[] = [revokeFound, revoke];
