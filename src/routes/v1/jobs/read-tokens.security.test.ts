import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { WINDOW_MS } from '../../../services/jobs/signed-urls.ts';
import { signToken } from '../../../providers/tokens.ts';
import { answerRunpod, PNG, postJson, problemOf, submitted, type Call } from '../../../testing/gateway.ts';
import { frozenClock } from '../../../testing/job.ts';
import { as, madeKey, type MadeKey } from '../../../testing/keys.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { keyWithSecretSchema } from '../keys/schemas.ts';
import { jobResultSchema, jobSchema } from '../schemas.ts';

/**
 * A read token shows one job until it ends, and neither more nor longer: not by links, not by headers, not past its
 * secret.
 */

const tokenSchema = z.object({ token: z.string(), expires_at: z.string() });

const tokenOf = async (call: Call, job: string, body?: object): Promise<z.infer<typeof tokenSchema>> => {
  const answer = await call(`/v1/jobs/${job}/tokens`, body === undefined ? { method: 'POST' } : postJson(body));
  expect(answer.status).toBe(201);
  return tokenSchema.parse(await answer.json());
};

/** A finished job with a picture, at the beginning of an hour. */
async function finished(): Promise<MadeKey & { job: string; clock: ReturnType<typeof frozenClock> }> {
  answerRunpod();
  const clock = frozenClock();
  clock.pass(WINDOW_MS - (Date.now() % WINDOW_MS));
  const account = `a${crypto.randomUUID()}`;
  const made = await madeKey(account);
  const job = (await submitted(made.call)).id;
  await runAsWorker(account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
  return { ...made, job, clock };
}

const rotate = async (call: Call, key: string, grace: number): Promise<string> =>
  keyWithSecretSchema.parse(await (await call(`/v1/keys/${key}/rotate`, postJson({ grace }))).json()).key;

const lifeOf = (link: string | null | undefined): number =>
  Number(new URL(link ?? '').searchParams.get('X-Amz-Expires')) * 1000;

describe('a response to a read token', () => {
  it.each(['', '/result'])('has signed URLs that expire with the token, in /v1/jobs/{id}%s', async (path) => {
    const { call, job, clock } = await finished();
    clock.pass(1_000_000);
    const { token, expires_at } = await tokenOf(call, job, { expires_in: 60 });
    const shape = path === '' ? jobSchema : jobResultSchema;
    const [output] = shape.parse(await (await as(token)(`/v1/jobs/${job}${path}`)).json()).outputs;
    expect(output?.url_expires_at).toBe(expires_at);
    const hour = Math.floor(Date.now() / WINDOW_MS) * WINDOW_MS;
    expect(hour + lifeOf(output?.signed_url)).toBe(Date.parse(expires_at));
    // All answers of an hour to one token have the same link, as with a key.
    clock.pass(30_000);
    const again = shape.parse(await (await as(token)(`/v1/jobs/${job}${path}`)).json());
    expect(again.outputs[0]?.signed_url).toBe(output?.signed_url);
    // The key's own answers have their usual ones.
    const [whole] = shape.parse(await (await call(`/v1/jobs/${job}${path}`)).json()).outputs;
    expect(Date.parse(whole?.url_expires_at ?? '')).toBe(hour + 2 * WINDOW_MS);
  });

  it('is not a 304 for a browser with links of an earlier token', async () => {
    const { call, job, clock } = await finished();
    const first = await tokenOf(call, job, { expires_in: 60 });
    const tag = (await as(first.token)(`/v1/jobs/${job}`)).headers.get('etag') ?? '';
    const ask = (caller: Call) => caller(`/v1/jobs/${job}?wait=60`, { headers: { 'if-none-match': tag } });
    expect((await ask(as(first.token))).status).toBe(304);
    clock.pass(50_000);
    const next = await tokenOf(call, job, { expires_in: 60 });
    const answer = await ask(as(next.token));
    expect(answer.status).toBe(200);
    expect(jobSchema.parse(await answer.json()).outputs[0]?.url_expires_at).toBe(next.expires_at);
    expect((await ask(call)).status).toBe(200);
  });

  it('has no RateLimit headers', async () => {
    const { call, job } = await finished();
    const { token } = await tokenOf(call, job);
    for (const path of ['', '/result', '/events', '/outputs/a.png', '/outputs/none.png']) {
      const { headers, body } = await as(token)(`/v1/jobs/${job}${path}`);
      expect([path, headers.get('ratelimit'), headers.get('ratelimit-policy')]).toEqual([path, null, null]);
      await body?.cancel();
    }
    expect((await call(`/v1/jobs/${job}`)).headers.get('ratelimit')).not.toBeNull();
  });
});

describe('a read token', () => {
  const shows = async (token: string, job: string): Promise<boolean> =>
    (await as(token)(`/v1/jobs/${job}`)).status === 200;

  it('ends with its secret, at once after a rotation without grace', async () => {
    const { id, call, job } = await finished();
    const { token } = await tokenOf(call, job);
    expect(await shows(token, job)).toBe(true);
    const next = await rotate(call, id, 0);
    expect(await shows(token, job)).toBe(false);
    expect(await shows((await tokenOf(as(next), job)).token, job)).toBe(true);
  });

  it('works until the end of the grace of its secret', async () => {
    const { id, call, job, clock } = await finished();
    const { token } = await tokenOf(call, job);
    const next = await rotate(call, id, 60);
    clock.pass(59_000);
    expect(await shows(token, job)).toBe(true);
    clock.pass(1_000);
    expect(await shows(token, job)).toBe(false);
    expect(await shows((await tokenOf(as(next), job)).token, job)).toBe(true);
  });

  it('has ended when its secret was replaced twice', async () => {
    const { id, call, job } = await finished();
    const { token } = await tokenOf(call, job);
    const second = await rotate(call, id, 600);
    await rotate(as(second), id, 600);
    expect(await shows(token, job)).toBe(false);
  });

  it('expires with the grace of its secret', async () => {
    const { id, call, job } = await finished();
    await rotate(call, id, 60);
    const { token, expires_at } = await tokenOf(call, job);
    expect(Date.parse(expires_at)).toBeLessThanOrEqual(Date.now() + 60_000);
    expect(await shows(token, job)).toBe(true);
    const seen = await problemOf(await call(`/v1/jobs/${job}/tokens`, postJson({ expires_in: 120 })));
    expect(seen).toMatchObject({ code: 'out_of_range', errors: [{ pointer: '#/expires_in' }] });
  });

  it.each([0, -1, 0.0001, 1.5, '60', null])('is not created for %j seconds', async (expires_in) => {
    const { call, job } = await finished();
    const seen = await problemOf(await call(`/v1/jobs/${job}/tokens`, postJson({ expires_in })));
    expect(seen).toMatchObject({ status: 422, errors: [{ pointer: '#/expires_in' }] });
  });

  it('is valid at its creation when it lives one second', async () => {
    const { call, job, clock } = await finished();
    clock.pass(999);
    const { token } = await tokenOf(call, job, { expires_in: 1 });
    clock.pass(900);
    expect(await shows(token, job)).toBe(true);
  });

  it('works until its end when an older gateway signed it', async () => {
    const { id, job } = await finished();
    const mac = await signToken(
      env.TOKEN_SECRET ?? '',
      { purpose: 'read', job, key: id, secret: null },
      Date.now() + 60_000,
    );
    expect(await shows(`ce_read_${id}.${mac}`, job)).toBe(true);
    // It cannot be made out to be of a secret.
    expect(await shows(`ce_read_${id}-${'0'.repeat(12)}.${mac}`, job)).toBe(false);
  });
});
