import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config/schema.ts';
import { MAX_KEY_BODY_BYTES, MAX_REVOCATION_BYTES } from '../../services/keys/request.ts';
import { newClient, problemOf, submitted } from '../../testing/gateway.ts';
import { as, madeKey, operator } from '../../testing/keys.ts';
import { SMALL_BODY_BYTES } from './body.ts';
import { routeName } from '../v1/route.ts';
import { ROUTES } from '../v1/routes.ts';

describe('an optional body', () => {
  it.each([
    ['none', null],
    ['an empty one', ''],
    ['an empty stream', new Blob([]).stream()],
  ])('is read as {}: %s', async (_, body) => {
    const { call } = await newClient();
    const { id } = await submitted(call);
    const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
    expect((await call(`/v1/jobs/${id}/tokens`, { method: 'POST', body: bytes })).status).toBe(201);
  });

  it('must have a Content-Type when it is not empty', async () => {
    const { call } = await newClient();
    const { id } = await submitted(call);
    const body = new TextEncoder().encode('{}');
    const response = await call(`/v1/jobs/${id}/tokens`, { method: 'POST', body });
    expect(await problemOf(response)).toMatchObject({ status: 415, code: 'unsupported_media_type' });
  });
});

describe('the size of a body', () => {
  const { max_body_bytes } = requireConfig(env).limits;
  const NOBODY = '01890000-0000-7000-8000-000000000000';
  /** Every route that reads a JSON body, and the bytes that it accepts. */
  const LIMITS: Record<string, number> = {
    'POST /jobs': max_body_bytes,
    'POST /jobs/batch': max_body_bytes,
    'POST /jobs/dry-run': max_body_bytes,
    'POST /jobs/{id}/tokens': SMALL_BODY_BYTES,
    'POST /uploads': SMALL_BODY_BYTES,
    'POST /webhooks': SMALL_BODY_BYTES,
    'PATCH /webhooks/{id}': SMALL_BODY_BYTES,
    'POST /webhooks/{id}/rotate': SMALL_BODY_BYTES,
    'POST /webhooks/{id}/redeliver': SMALL_BODY_BYTES,
    'POST /keys': MAX_KEY_BODY_BYTES,
    'PATCH /keys/{id}': MAX_KEY_BODY_BYTES,
    'POST /keys/{id}/rotate': SMALL_BODY_BYTES,
    'POST /keys/revoke': MAX_REVOCATION_BYTES,
    'PUT /accounts/{account}/limits': SMALL_BODY_BYTES,
  };
  /** Routes that read no JSON: a file, or nothing. */
  const NO_JSON = [
    'POST /assets',
    'POST /jobs/{id}/cancel',
    'POST /uploads/{id}/complete',
    'POST /webhooks/{id}/ping',
    'POST /webhooks/{id}/deliveries/{delivery}/redeliver',
  ];

  it('is limited on every route that reads JSON', () => {
    const sending = ROUTES.map(routeName).filter((route) => /^(POST|PUT|PATCH) /.test(route));
    expect([...Object.keys(LIMITS), ...NO_JSON].toSorted()).toEqual(sending.toSorted());
  });

  it('is smallest where no key is needed', () => {
    const open = ROUTES.filter(({ access }) => access === 'open').map(routeName);
    expect(open).toEqual(['POST /keys/revoke']);
    expect(Math.min(...Object.values(LIMITS))).toBe(MAX_REVOCATION_BYTES);
  });

  const large = Object.entries(LIMITS).filter(([, limit]) => limit < max_body_bytes);
  it.each(large)('is limited on %s to %d bytes, read or stated', async (route, limit) => {
    const [method = '', path = ''] = route.split(' ');
    const { key } = await madeKey(`a${crypto.randomUUID()}`, { scopes: ['admin'] });
    const call = route.startsWith('PUT') ? operator : as(key);
    const send = (body: BodyInit) =>
      call(`/v1${path.replace(/\{\w+\}/, NOBODY)}`, { method, headers: { 'content-type': 'application/json' }, body });
    const text = `{"a":"${'x'.repeat(limit - 8)}"}`;
    const fits = await send(text);
    expect({ limit: text.length, status: fits.status }).not.toMatchObject({ status: 413 });
    await fits.body?.cancel();
    const chunked = new Blob([`${text} `]).stream();
    for (const body of [`${text} `, chunked]) {
      expect(await problemOf(await send(body))).toMatchObject({ status: 413, code: 'body_too_large' });
    }
  });
});
