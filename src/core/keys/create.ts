import { z } from 'zod';
import { systemRandom } from '../../providers/ids.ts';
import { insertKey } from '../../storage/d1/keys.ts';
import type { Core } from '../context.ts';
import { faultsOf } from '../faults.ts';
import { invalidRequest, type CoreProblem } from '../problems.ts';
import { fail, ok, type Result } from '../result.ts';
import { ENVIRONMENTS, hashKey, makeKey } from './format.ts';

/** Part of storage keys in R2 and of names of objects, hence no slash, no dot and no upper case. */
export const ACCOUNT_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const MAX_NAME_CHARS = 100;
const HINT_CHARS = 4;

/** Body of `POST /v1/keys`. */
export const newKeySchema = z.strictObject({
  account: z.string().regex(ACCOUNT_NAME, 'must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit'),
  environment: z.enum(ENVIRONMENTS),
  name: z.string().max(MAX_NAME_CHARS).default(''),
});

/** A key as it is shown once, to whoever made it. Times in ms since the epoch. */
export type CreatedKey = { id: string; account: string; key: string; created_at: number };

/** Makes a key for an account. Only its hash is stored. */
export async function createKey(core: Core, body: unknown): Promise<Result<CreatedKey, CoreProblem>> {
  const parsed = newKeySchema.safeParse(body);
  if (!parsed.success) {
    return fail(invalidRequest(faultsOf(parsed.error)));
  }
  const { account, environment, name } = parsed.data;
  const key = makeKey(environment, systemRandom);
  const id = core.newId();
  const created_at = core.clock();
  const hash = await hashKey(key);
  await insertKey(core.env.DB, { id, account, environment, name, hash, hint: key.slice(-HINT_CHARS), created_at });
  return ok({ id, account, key, created_at });
}
