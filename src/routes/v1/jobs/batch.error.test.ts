import { env } from 'cloudflare:workers';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_BATCH_JOBS } from '../../../services/jobs/batch.ts';
import { batchOf, outcomes, postBatch, acceptedJobs } from '../../../testing/batch.ts';
import { answerRunpod, GRAPH, newClient, postJson, problemOf, storedOf } from '../../../testing/gateway.ts';
import { ownApp } from '../../../testing/keys.ts';
import { batchSchema } from '../schemas.ts';

const good = { workflow: GRAPH };

describe('a malformed batch', () => {
  it.each([
    ['no list', {}, 'required'],
    ['an empty list', { jobs: [] }, 'out_of_range'],
    ['one job too many', { jobs: Array.from({ length: MAX_BATCH_JOBS + 1 }, () => good) }, 'out_of_range'],
    ['something else for a list', { jobs: good }, 'invalid_type'],
    ['a list without its envelope', [good], 'invalid_type'],
    ['a field that is unknown', { jobs: [good], wait: 5 }, 'unknown_field'],
  ])('refuses %s as a whole and accepts no job', async (_name, body, code) => {
    const runpod = answerRunpod();
    const { account, call } = await newClient();
    expect(await problemOf(await postBatch(call, body))).toMatchObject({ status: 422, code });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(runpod.calls).toEqual([]);
  });

  it('refuses a too large body before it is read completely', async () => {
    const { call } = await newClient();
    const answer = await call('/v1/jobs/batch', {
      ...postJson({ jobs: [good], more: 'x'.repeat(33 * 1024 * 1024) }),
    });
    expect(await problemOf(answer)).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  it('refuses another Content-Type and an invalid Idempotency-Key', async () => {
    const { call } = await newClient();
    const text = await call('/v1/jobs/batch', { method: 'POST', body: JSON.stringify({ jobs: [good] }) });
    expect(await problemOf(text)).toMatchObject({ status: 415 });
    const key = await postBatch(call, { jobs: [good] }, { 'idempotency-key': 'a\tb' });
    expect(await problemOf(key)).toMatchObject({ status: 400, code: 'invalid_idempotency_key' });
  });
});

describe('an invalid job of a batch', () => {
  it('gets the problem of a separate submit and does not affect the other jobs', async () => {
    answerRunpod();
    const { call } = await newClient();
    const bad = [
      null,
      7,
      'job',
      [],
      {},
      { workflow: {} },
      { workflow: GRAPH, metadata: { a: 1 } },
      { workflow: GRAPH, endpoint: 'nowhere' },
      { workflow: GRAPH, start_within: 901 },
      { workflow: GRAPH, inputs: [{ name: 'a.png', asset: `sha256:${'0'.repeat(64)}` }] },
      { workflow: { '1': { class_type: 'A', inputs: { x: ['9', 0] } } } },
    ];
    const items = await batchOf(
      call,
      bad.flatMap((each) => [each, good]),
    );
    expect(outcomes(items).filter((_, at) => at % 2 === 1)).toEqual(bad.map(() => 201));
    for (const [at, body] of bad.entries()) {
      const alone = await problemOf(await call('/v1/jobs', postJson(body)));
      const { request_id: _alone, ...expected } = alone;
      expect(items[at * 2]).toMatchObject({ status: alone.status, problem: expected });
    }
  });

  it.each([7, '', null, 'ключ', 'a'.repeat(256), 'a\nb', {}])(
    'is refused for the idempotency key %j',
    async (idempotency_key) => {
      answerRunpod();
      const { call } = await newClient();
      const items = await batchOf(call, [{ ...good, idempotency_key }, good]);
      expect(outcomes(items)).toEqual(['invalid_idempotency_key', 201]);
      expect(items[0]).toMatchObject({ status: 400, problem: { errors: [{ pointer: '#/idempotency_key' }] } });
    },
  );

  it('gets a retryable problem when the platform fails, and the other jobs are accepted', async () => {
    answerRunpod();
    const { key } = await newClient();
    const call = ownApp({}, { ACCOUNT: failingAt(2) })(key);
    const answer = await postBatch(call, { jobs: [good, good, good, good] });
    expect(answer.status).toBe(200);
    const { data } = batchSchema.parse(await answer.json());
    expect(outcomes(data)).toEqual([201, 'unavailable', 201, 201]);
    expect(data[1]).toMatchObject({ status: 503 });
    expect(acceptedJobs(data)).toHaveLength(3);
    expect(JSON.stringify(data)).not.toContain('the account moved');
  });

  it('never causes an internal error, for any body', async () => {
    answerRunpod();
    const { call } = await newClient();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }), { minLength: 1, maxLength: 5 }),
        async (jobs) => {
          const answer = await postBatch(call, { jobs });
          const refused = async () => [{ status: (await problemOf(answer)).status }];
          const items = answer.status === 200 ? batchSchema.parse(await answer.json()).data : await refused();
          expect(items.filter(({ status }) => status >= 500)).toEqual([]);
        },
      ),
      { numRuns: 100 },
    );
  });
});

/** The accounts, of which the n-th call for admission fails as when the platform is overloaded. */
function failingAt(which: number): typeof env.ACCOUNT {
  let calls = 0;
  const admit = (stub: object, args: unknown[]): unknown => {
    calls += 1;
    return calls === which
      ? Promise.reject(Object.assign(new Error('the account moved'), { overloaded: true }))
      : Reflect.apply(Reflect.get(stub, 'admit'), stub, args);
  };
  const watched = (stub: ReturnType<typeof env.ACCOUNT.getByName>) =>
    new Proxy(stub, {
      get: (target, name): unknown =>
        name === 'admit' ? (...args: unknown[]) => admit(target, args) : Reflect.get(target, name),
    });
  return new Proxy(env.ACCOUNT, {
    get: (target, name): unknown =>
      name === 'getByName' ? (account: string) => watched(target.getByName(account)) : Reflect.get(target, name),
  });
}
