import { z } from '@hono/zod-openapi';
import { rotateKey, updateKey } from '../../../services/keys/manage.ts';
import { MAX_KEY_BODY_BYTES, keyChangeSchema, rotationSchema } from '../../../services/keys/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, readOptionalJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { keySchema, keyWithSecretSchema, renderKey } from './schemas.ts';

const params = z.object({ id: z.uuid() });

/** `PATCH /v1/keys/{id}` and `POST /v1/keys/{id}/rotate`. */
export function registerChangeKey(app: V1App): void {
  describeRoute(app, {
    method: 'patch',
    path: '/keys/{id}',
    operationId: 'updateKey',
    summary: 'Change what an API key may do',
    request: { params, body: { required: true, content: { 'application/json': { schema: keyChangeSchema } } } },
    responses: { 200: jsonAnswer('The key', keySchema) },
  });
  app.patch('/keys/:id', async (c) => {
    const body = await readJsonBody(c, MAX_KEY_BODY_BYTES);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, actor } = c.var;
    const changed = await updateKey(core, actor, c.req.param('id'), body.value);
    return changed.ok ? c.json(renderKey(changed.value)) : coreProblem(c, changed.problem);
  });

  describeRoute(app, {
    method: 'post',
    path: '/keys/{id}/rotate',
    operationId: 'rotateKey',
    summary: 'Give an API key a new secret',
    request: { params, body: { content: { 'application/json': { schema: rotationSchema } } } },
    responses: { 200: jsonAnswer('The key and its new secret, shown once', keyWithSecretSchema) },
  });
  app.post('/keys/:id/rotate', async (c) => {
    const body = await readOptionalJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, actor } = c.var;
    const rotated = await rotateKey(core, actor, c.req.param('id'), body.value);
    if (!rotated.ok) {
      return coreProblem(c, rotated.problem);
    }
    const { key, secret } = rotated.value;
    return c.json({ ...renderKey(key), key: secret }, 200, { 'cache-control': 'no-store' });
  });
}
