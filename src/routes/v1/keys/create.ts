import { createKey } from '../../../services/keys/create.ts';
import { MAX_KEY_BODY_BYTES, newKeySchema } from '../../../services/keys/request.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { keyWithSecretSchema, renderKey } from './schemas.ts';

/** `POST /v1/keys`: creates a key. Its secret is shown only here. */
const create = defineRoute({
  method: 'post',
  path: '/keys',
  access: { scope: 'keys:write', operator: true },
  operationId: 'createKey',
  summary: 'Create an API key',
  body: jsonBody(newKeySchema, {
    maxBytes: MAX_KEY_BODY_BYTES,
    example: { environment: 'test', name: 'my laptop', scopes: ['jobs:write', 'jobs:read'] },
  }),
  responses: {
    201: jsonResponse('The key and its secret, shown once', keyWithSecretSchema, { headers: ['Location'] }),
  },
  async handle(c, { body }) {
    const { context, actor } = c.var;
    const created = await createKey(context, actor, body);
    if (!created.ok) {
      return created;
    }
    const { key, secret } = created.value;
    return c.json({ ...renderKey(key), key: secret }, 201, {
      'cache-control': 'no-store',
      location: `${context.config.publicUrl}/v1/keys/${key.id}`,
    });
  },
});

export const createKeyRoutes: readonly Route[] = [create];
