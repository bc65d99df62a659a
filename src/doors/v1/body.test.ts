import { describe, expect, it } from 'vitest';
import { newClient, problemOf, submitted } from '../../testing/gateway.ts';

describe('a body that may be left out', () => {
  it.each([
    ['none', null],
    ['an empty one', ''],
    ['an empty stream', new Blob([]).stream()],
  ])('is taken for {}: %s', async (_, body) => {
    const { call } = await newClient();
    const { id } = await submitted(call);
    const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
    expect((await call(`/v1/jobs/${id}/tokens`, { method: 'POST', body: bytes })).status).toBe(201);
  });

  it('must say its type if there is one', async () => {
    const { call } = await newClient();
    const { id } = await submitted(call);
    const body = new TextEncoder().encode('{}');
    const response = await call(`/v1/jobs/${id}/tokens`, { method: 'POST', body });
    expect(await problemOf(response)).toMatchObject({ status: 415, code: 'unsupported_media_type' });
  });
});
