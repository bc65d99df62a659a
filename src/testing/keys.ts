import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import type { AppParts } from '../app.ts';
import type { Env } from '../env.ts';
import { keyWithSecretSchema } from '../routes/v1/keys/schemas.ts';
import { ADMIN_TOKEN, anyone, ORIGIN, ownGateway, postJson, type Call } from './gateway.ts';

/** API keys, created over the operator's API. */

/** Calls with this bearer token. */
export const as =
  (credential: string): Call =>
  (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${credential}`);
    return anyone(path, { ...init, headers });
  };

export const operator: Call = as(ADMIN_TOKEN);

export type MadeKey = { id: string; key: string; call: Call };

/** Creates a key of an account: a test key with every scope but `admin`, unless `fields` says otherwise. */
export async function madeKey(account: string, fields: Record<string, unknown> = {}): Promise<MadeKey> {
  const response = await operator('/v1/keys', postJson({ account, environment: 'test', ...fields }));
  expect(response.status).toBe(201);
  const { id, key } = keyWithSecretSchema.parse(await response.json());
  return { id, key, call: as(key) };
}

/** A gateway with a clock or settings of the test. */
export function ownApp(parts: AppParts, settings: Partial<Env> = {}): (credential: string) => Call {
  const app = ownGateway(parts);
  const own = { ...env, ...settings };
  return (credential) =>
    async (path, init = {}) => {
      const headers = new Headers(init.headers);
      headers.set('authorization', `Bearer ${credential}`);
      return app.fetch(new Request(ORIGIN + path, { ...init, headers }), own);
    };
}
