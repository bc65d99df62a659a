import { beforeAll, describe, expect, it } from 'vitest';
import { postJson, submitted, type Call } from '../../testing/gateway.ts';
import { madeKey, operator } from '../../testing/keys.ts';
import { DESCRIBED } from '../../testing/contract/operations.ts';

/** Every example of a request in the OpenAPI document, sent as it stands. */

const account = `a${crypto.randomUUID()}`;
let admin: Call;

beforeAll(async () => {
  admin = (await madeKey(account, { scopes: ['admin'] })).call;
});

/** Something new of the kind that a path names, so that no example meets what another has changed. */
async function idFor(path: string): Promise<string> {
  if (path.startsWith('/keys')) {
    return (await madeKey(account)).id;
  }
  if (path.startsWith('/jobs')) {
    return (await submitted(admin)).id;
  }
  const made = await admin('/v1/webhooks', postJson({ url: 'https://hooks.example.com/' }));
  return (await made.json<{ id: string }>()).id;
}

describe.each(DESCRIBED.filter(({ body }) => body !== null))(
  'the example of $method $path',
  ({ method, path, body }) => {
    it('is accepted unchanged', async () => {
      expect(body?.example).toBeDefined();
      const call = path.endsWith('/limits') ? operator : admin;
      const id = path.includes('{id}') ? await idFor(path) : '';
      const answer = await call(`/v1${path.replace('{id}', id).replace('{account}', account)}`, {
        ...postJson(body?.example),
        method,
      });
      const text = await answer.text();
      expect(`${answer.status} ${text}`).toMatch(/^2/);
      // What a batch refuses stands in its answer.
      expect(text).not.toContain('"problem"');
    });
  },
);
