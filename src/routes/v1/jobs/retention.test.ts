import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { requireConfig } from '../../../config/schema.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { frozenClock, runAlarm, harnessOf, drained } from '../../../testing/job.ts';
import { operator } from '../../../testing/keys.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema } from '../schemas.ts';

const { retention } = requireConfig(env).policy;
const FILE = { name: 'a.png', content_type: 'image/png', bytes: PNG };

const setLimits = (account: string, limits: Record<string, number>) =>
  operator(`/v1/accounts/${account}/limits`, { ...postJson(limits), method: 'PUT' });
const get = async (call: Call, id: string) => jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());

/** A job with a file that has just ended, on a clock that stands still. */
async function ended(body: Record<string, unknown> = {}, limits: Record<string, number> = {}) {
  answerRunpod();
  const clock = frozenClock();
  const { account, call } = await newClient();
  await setLimits(account, limits);
  const { id } = await submitted(call, { inputs: [{ name: 'in.png', data: PNG.toBase64() }], ...body });
  await runAsWorker(account, id, [FILE]);
  await drained(harnessOf(id));
  return { clock, account, call, id };
}

describe('a finished job', () => {
  it.each([
    ['as long as the policy says', {}, {}, retention],
    ['as long as its account says', {}, { retention: 3600 }, 3600],
    ['as long as its request says', { retention: 60 }, {}, 60],
    ['as long as its request says, up to what its account says', { retention: 3600 }, { retention: 3600 }, 3600],
  ] as const)('is kept %s, to the millisecond', async (_what, body, limits, seconds) => {
    const { clock, account, call, id } = await ended(body, limits);
    const { expires_at } = await get(call, id);
    expect(Date.parse(expires_at)).toBe(Date.now() + seconds * 1000);

    clock.pass(seconds * 1000 - 1);
    await runAlarm(harnessOf(id));
    expect((await get(call, id)).outputs).toHaveLength(1);

    clock.pass(1);
    await runAlarm(harnessOf(id));
    expect((await call(`/v1/jobs/${id}`)).status).toBe(404);
    expect((await call(`/v1/jobs/${id}/events`)).status).toBe(404);
    // Its result is gone, and so is the input that came with it.
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
  });

  it('is kept as its account said at the submit', async () => {
    const { account, call, id } = await ended({}, { retention: 3600 });
    await setLimits(account, { retention: 60 });
    expect(Date.parse((await get(call, id)).expires_at)).toBe(Date.now() + 3_600_000);
  });
});

describe('a retention', () => {
  it.each([
    [{ retention: retention + 0.001 }, 'out_of_range'],
    [{ retention: 0 }, 'out_of_range'],
    [{ retention: -1 }, 'out_of_range'],
    [{ retention: '60' }, 'invalid_type'],
  ])('is refused when it is invalid: %j', async (body, code) => {
    const { account, call } = await newClient();
    const problem = await problemOf(await call('/v1/jobs', postJson({ workflow: GRAPH, ...body })));
    expect(problem).toMatchObject({ status: 422, code, errors: [{ pointer: '#/retention', code }] });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused above the limit of the account, and its slot and inputs are released', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await setLimits(account, { retention: 60, jobs_in_flight: 1, max_queued: 0 });
    const inputs = [{ name: 'in.png', data: PNG.toBase64() }];
    const refused = await call('/v1/jobs', postJson({ workflow: GRAPH, inputs, retention: 61 }));
    expect(await problemOf(refused)).toMatchObject({ status: 422, code: 'out_of_range' });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect((await call('/v1/jobs', postJson({ workflow: GRAPH, inputs, retention: 60 }))).status).toBe(201);
  });
});
