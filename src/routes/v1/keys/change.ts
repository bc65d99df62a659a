import { rotateKey, updateKey } from '../../../services/keys/manage.ts';
import { MAX_KEY_BODY_BYTES, keyChangeSchema, rotationSchema } from '../../../services/keys/request.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { keySchema, keyWithSecretSchema, renderKey } from './schemas.ts';

const update = defineRoute({
  method: 'patch',
  path: '/keys/{id}',
  access: { scope: 'keys:write', operator: true },
  operationId: 'updateKey',
  summary: 'Change what an API key may do',
  params: idParams,
  body: jsonBody(keyChangeSchema, {
    maxBytes: MAX_KEY_BODY_BYTES,
    example: { name: 'my old laptop', ip_allow: ['203.0.113.0/24'] },
  }),
  responses: { 200: jsonResponse('The key', keySchema) },
  async handle(c, { body }) {
    const { context, actor } = c.var;
    const changed = await updateKey(context, actor, c.req.param('id'), body);
    return changed.ok ? c.json(renderKey(changed.value)) : changed;
  },
});

const rotate = defineRoute({
  method: 'post',
  path: '/keys/{id}/rotate',
  access: { scope: 'keys:write', operator: true },
  operationId: 'rotateKey',
  summary: 'Give an API key a new secret',
  params: idParams,
  body: jsonBody(rotationSchema, { optional: true, example: { grace: 3600 } }),
  responses: { 200: jsonResponse('The key and its new secret, shown once', keyWithSecretSchema) },
  async handle(c, { body }) {
    const { context, actor } = c.var;
    const rotated = await rotateKey(context, actor, c.req.param('id'), body);
    if (!rotated.ok) {
      return rotated;
    }
    const { key, secret } = rotated.value;
    return c.json({ ...renderKey(key), key: secret }, 200, { 'cache-control': 'no-store' });
  },
});

/** `PATCH /v1/keys/{id}` and `POST /v1/keys/{id}/rotate`. */
export const changeKeyRoutes: readonly Route[] = [update, rotate];
