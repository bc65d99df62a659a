import { createKey, newKeySchema } from '../../../core/keys/create.ts';
import { coreProblem } from '../../problem.ts';
import { bearerOf, unauthorized } from '../auth.ts';
import { readJsonBody, refuse } from '../body.ts';
import { createdKeySchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, problemAnswer, type V1App } from '../v1-app.ts';

/** `POST /v1/keys`: makes a key for an account. With the admin token only; the key is shown this once. */
export function registerCreateKey(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/keys',
    operationId: 'createKey',
    summary: 'Make an API key',
    security: [{ admin: [] }],
    request: { body: { required: true, content: { 'application/json': { schema: newKeySchema } } } },
    responses: { 201: jsonAnswer('The key, shown once', createdKeySchema), ...problemAnswer },
  });
  app.post('/keys', async (c) => {
    const { core } = c.var;
    if (!(await sameText(bearerOf(c) ?? '', core.config.adminToken))) {
      return unauthorized(c, 'send the admin token as "Authorization: Bearer <token>"');
    }
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const created = await createKey(core, body.value);
    if (!created.ok) {
      return coreProblem(c, created.problem);
    }
    const { id, account, key, created_at } = created.value;
    return c.json({ id, account, key, created_at: new Date(created_at).toISOString() }, 201, {
      'cache-control': 'no-store',
    });
  });
}

/** Compares in constant time. Hashes have one length, so the secret's own length does not show either. */
async function sameText(left: string, right: string): Promise<boolean> {
  const encoder = new TextEncoder();
  const [a, b] = await Promise.all([left, right].map((text) => crypto.subtle.digest('SHA-256', encoder.encode(text))));
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}
