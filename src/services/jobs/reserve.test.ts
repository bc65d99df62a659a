import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, it } from 'vitest';
import { testBindings } from '../../../test/gateway-bindings.ts';
import { requireConfig } from '../../config/schema.ts';
import { fakeRunpod, newId } from '../../testing/job.ts';
import { GRAPH } from '../../testing/gateway.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { InlineFiles } from './inline.ts';
import { submitJob } from './submit.ts';

it('admission reserves the cost of the most expensive endpoint on which the job may run', async () => {
  fakeRunpod();
  const price = (per_second: number) => ({ price: { per_second }, environment: 'any' });
  const endpoints = {
    default: { runpod_id: 'a', fallback: 'spare', ...price(0.001) },
    spare: { runpod_id: 'b', ...price(0.003) },
  };
  const config = requireConfig({ ...env, ...testBindings, ENDPOINTS: JSON.stringify(endpoints) });
  const context: ServiceContext = { env, config, clock: () => Date.now(), newId, newSeed: () => 1 };
  const account = `a${crypto.randomUUID()}`;
  const open = { environment: 'live', templates: null, nodes: null } as const;
  const reserved = async (): Promise<number[]> =>
    runInDurableObject(env.ACCOUNT.getByName(account), (_account, state) =>
      state.storage.sql
        .exec<{ micro_usd: number }>('SELECT micro_usd FROM slots ORDER BY arrival')
        .toArray()
        .map(({ micro_usd }) => micro_usd),
    );
  const callers: Caller[] = [
    { account, key: 'both', endpoints: null, ...open },
    { account, key: 'one', endpoints: ['default'], ...open },
  ];
  for (const caller of callers) {
    const body = {
      value: { workflow: GRAPH, endpoint: 'default', finish_within: 100 },
      files: new InlineFiles(context, caller, null),
    };
    expect(await submitJob(context, caller, body)).toMatchObject({ ok: true });
  }
  expect(await reserved()).toEqual([300_000, 100_000]);
});
