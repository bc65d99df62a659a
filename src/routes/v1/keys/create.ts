import { createKey } from '../../../services/keys/create.ts';
import { MAX_KEY_BODY_BYTES, newKeySchema } from '../../../services/keys/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { keyWithSecretSchema, renderKey } from './schemas.ts';

/** `POST /v1/keys`: makes a key. The secret is shown this once. */
export function registerCreateKey(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/keys',
    operationId: 'createKey',
    summary: 'Make an API key',
    request: { body: { required: true, content: { 'application/json': { schema: newKeySchema } } } },
    responses: { 201: jsonAnswer('The key and its secret, shown once', keyWithSecretSchema, 'Location') },
  });
  app.post('/keys', async (c) => {
    const body = await readJsonBody(c, MAX_KEY_BODY_BYTES);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, actor } = c.var;
    const created = await createKey(core, actor, body.value);
    if (!created.ok) {
      return coreProblem(c, created.problem);
    }
    const { key, secret } = created.value;
    return c.json({ ...renderKey(key), key: secret }, 201, {
      'cache-control': 'no-store',
      location: `${core.config.publicUrl}/v1/keys/${key.id}`,
    });
  });
}
