import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { hashKey } from '../../../domain/key/format.ts';
import { findBySecret, revokeKey } from '../../../storage/d1/keys.ts';
import { anyone, postJson, problemOf } from '../../../testing/gateway.ts';
import { as, madeKey, ownApp } from '../../../testing/keys.ts';
import { keyPageSchema, keySchema, keyWithSecretSchema } from './schemas.ts';

/**
 * What a secret can do that a rotation has replaced: end itself, and go on with its work for a while. It manages no
 * keys.
 */

const newAccount = () => `a${crypto.randomUUID()}`;
const works = async (key: string): Promise<boolean> => (await as(key)('/v1/jobs')).status === 200;
const rotated = async (response: Response) => keyWithSecretSchema.parse(await response.json());
const give = (key: string) => anyone('/v1/keys/revoke', postJson({ key }));

describe('a replaced secret that is reported', () => {
  it('ends at once, and the new secret keeps working', async () => {
    const account = newAccount();
    const [made, kept] = await Promise.all([madeKey(account), madeKey(account, { scopes: ['admin'] })]);
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, postJson({ grace: 60 })));
    expect(await works(made.key)).toBe(true);
    expect((await give(made.key)).status).toBe(204);
    expect([await works(made.key), await works(next.key)]).toEqual([false, true]);
    const read = keySchema.parse(await (await as(next.key)(`/v1/keys/${made.id}`)).json());
    expect(read.revoked_at).toBeNull();
    expect(Date.parse(read.previous_expires_at ?? '')).toBeLessThanOrEqual(Date.now());
    const { data } = await (await kept.call('/v1/audit?limit=1')).json<{ data: unknown[] }>();
    expect(data).toMatchObject([
      {
        action: 'key.updated',
        target: made.id,
        actor: { type: 'secret', key: made.id },
        changes: { previous_expires_at: { from: Date.parse(next.previous_expires_at ?? ''), to: expect.any(Number) } },
      },
    ]);
  });

  it.each([0, 60])('does not affect the key after its grace of %i s', async (grace) => {
    const made = await madeKey(newAccount());
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, postJson({ grace })));
    const later = ownApp({ clock: () => Date.now() + (grace + 1) * 1000 });
    const before = await (await as(next.key)(`/v1/keys/${made.id}`)).json();
    expect((await later('')('/v1/keys/revoke', postJson({ key: made.key }))).status).toBe(204);
    expect(await works(next.key)).toBe(true);
    const after = await (await as(next.key)(`/v1/keys/${made.id}`)).json();
    expect(after).toMatchObject({ previous_expires_at: next.previous_expires_at, revoked_at: null });
    expect(after).toMatchObject({ rotated_at: keySchema.parse(before).rotated_at });
  });

  it('does not end the new secret during the rotation', async () => {
    const made = await madeKey(newAccount());
    const found = await findBySecret(env.DB, await hashKey(made.key));
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, postJson({ grace: 0 })));
    // What was read before the rotation no longer holds when it is written.
    const entry = {
      id: crypto.randomUUID(),
      account: 'a',
      at: 1,
      actor: 'secret',
      actor_key: made.id,
      action: 'key.revoked',
      target: made.id,
      request_id: 'r',
      changes: {},
    } as const;
    expect(found?.ends_at).toBeNull();
    expect(await revokeKey(env.DB, made.id, 1, entry, await hashKey(made.key))).toBe(false);
    expect(await works(next.key)).toBe(true);
  });
});

describe('a secret in its grace', () => {
  it('cannot create, change, rotate or revoke keys', async () => {
    const made = await madeKey(newAccount());
    const other = await madeKey(newAccount());
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, postJson({ grace: 60 })));
    const calls: [string, RequestInit][] = [
      ['/v1/keys', postJson({ environment: 'test' })],
      [`/v1/keys/${made.id}/rotate`, postJson({ grace: 0 })],
      [`/v1/keys/${made.id}`, { ...postJson({ name: 'x' }), method: 'PATCH' }],
      [`/v1/keys/${made.id}`, { method: 'DELETE' }],
      [`/v1/keys/${other.id}`, { method: 'DELETE' }],
    ];
    for (const [path, init] of calls) {
      expect(await problemOf(await made.call(path, init))).toMatchObject({ status: 403, code: 'exceeds_key' });
    }
    const { data } = keyPageSchema.parse(await (await made.call('/v1/keys')).json());
    expect(data.map(({ id, name, revoked_at }) => [id, name, revoked_at])).toEqual([[made.id, '', null]]);
    expect([await works(made.key), await works(next.key)]).toEqual([true, true]);
    expect((await as(next.key)('/v1/keys', postJson({ environment: 'test' }))).status).toBe(201);
  });
});
