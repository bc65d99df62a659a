import { beforeAll, describe, expect, it } from 'vitest';
import { anyone, problemOf, type Call } from '../../testing/gateway.ts';
import { madeKey } from '../../testing/keys.ts';
import { DESCRIBED } from '../../testing/contract/operations.ts';

/**
 * A method that a path does not have is a 405 with the path's methods in `Allow` (RFC 9110 section 15.5.6), as the
 * OpenAPI document has them.
 */

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
const ID = '0192f0c1-7c3e-7d52-9a51-3f2a6f8f1c11';

let admin: Call;
beforeAll(async () => {
  admin = (await madeKey(`a${crypto.randomUUID()}`, { scopes: ['admin'] })).call;
});

const V1 = [...new Set(DESCRIBED.map(({ path }) => path))].map((path) => ({
  path: `/v1${path.replaceAll(/\{(?:id|delivery)\}/g, ID).replaceAll(/\{\w+\}/g, 'default')}`,
  has: methodsOf(DESCRIBED.filter((each) => each.path === path).map(({ method }) => method)),
}));

const OTHERS = [
  ...['/healthz', '/readyz', '/status', '/openapi.json', '/docs', '/problems', '/problems/not_found'].map((path) => ({
    path,
    has: ['GET', 'HEAD'],
  })),
  { path: `/hooks/runpod/${ID}/1`, has: ['POST'] },
];

/** Every route with GET also answers HEAD. */
function methodsOf(methods: string[]): string[] {
  return [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].sort();
}

describe.each([...V1, ...OTHERS])('$path', ({ path, has }) => {
  it.each(METHODS.filter((method) => !has.includes(method)))('refuses %s and names its methods', async (method) => {
    const call = path.startsWith('/v1') ? admin : anyone;
    const answer = await call(path, { method });
    expect([answer.status, answer.headers.get('allow')?.split(', ').sort()]).toEqual([405, has]);
    expect(method === 'HEAD' || (await problemOf(answer)).code === 'method_not_allowed').toBe(true);
  });
});
