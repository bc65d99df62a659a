import { z } from '@hono/zod-openapi';
import { revokeBySecret, revokeKey } from '../../../services/keys/manage.ts';
import { MAX_REVOCATION_BYTES, revocationSchema } from '../../../services/keys/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { keySchema, renderKey } from './schemas.ts';

/** `DELETE /v1/keys/{id}` for whoever manages keys, and `POST /v1/keys/revoke` for whoever found a secret. */
export function registerRevokeKey(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/keys/revoke',
    operationId: 'revokeFoundKey',
    summary: 'Revoke a key by its secret',
    description:
      'Needs no key: holding the secret is all it takes. The answer does not say whether there was such a key.',
    request: { body: { required: true, content: { 'application/json': { schema: revocationSchema } } } },
    responses: { 204: { description: 'No key has this secret any more' } },
  });
  app.post('/keys/revoke', async (c) => {
    const body = await readJsonBody(c, MAX_REVOCATION_BYTES);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const revoked = await revokeBySecret(c.var.core, body.value, c.var.requestId);
    return revoked.ok ? c.body(null, 204) : coreProblem(c, revoked.problem);
  });

  describeRoute(app, {
    method: 'delete',
    path: '/keys/{id}',
    operationId: 'revokeKey',
    summary: 'Revoke an API key',
    request: { params: z.object({ id: z.uuid() }) },
    responses: { 200: jsonAnswer('The key, revoked', keySchema) },
  });
  app.delete('/keys/:id', async (c) => {
    const { core, actor } = c.var;
    const revoked = await revokeKey(core, actor, c.req.param('id'));
    return revoked.ok ? c.json(renderKey(revoked.value)) : coreProblem(c, revoked.problem);
  });
}
