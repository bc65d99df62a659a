import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ORIGIN, ownGateway } from '../../testing/gateway.ts';
import { createClaimedJob, fakeRunpod, newId, WORKER, type JobHarness } from '../../testing/job.ts';
import { tokenFor } from '../../testing/worker-calls.ts';

/** A request without a valid token costs the routes for machines only the check of that token. */

const ADDRESS = '203.0.113.30';
/** Larger than a claim, and below the limit of the route. */
const LARGE_BYTES = 15_000_000;

/** A limit that rejects every request, and the keys that were checked. */
function rejectingLimit(): RateLimit & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    limit: ({ key = '' }) => {
      asked.push(key);
      return Promise.resolve({ success: false });
    },
  };
}

const open: RateLimit = { limit: () => Promise.resolve({ success: true }) };

/** Makes a gateway with these limits, called from one address. */
function from(limit: RateLimit): (path: string, init: RequestInit) => Promise<Response> {
  const app = ownGateway();
  const bindings = { ...env, RATE_LIMIT_BAD_KEY: limit, RATE_LIMIT_OPEN: limit, RATE_LIMIT_KEY: limit };
  return (path, init) => {
    const headers = new Headers(init.headers);
    headers.set('cf-connecting-ip', ADDRESS);
    return app.fetch(new Request(ORIGIN + path, { ...init, headers }), bindings);
  };
}

/** Makes a body that reports how much of it was read. */
function watched(bytes: number): { body: ReadableStream<Uint8Array>; pulled: () => number } {
  let given = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const chunk = new Uint8Array(Math.min(65_536, bytes - given)).fill(32);
        given += chunk.length;
        controller.enqueue(chunk);
        if (given === bytes) {
          controller.close();
        }
      },
    },
    { highWaterMark: 0 },
  );
  return { body, pulled: () => given };
}

const sent = (token: string, body: BodyInit): RequestInit => ({
  method: 'POST',
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  body,
});
const claim = (harness: JobHarness & { claim: string }) =>
  JSON.stringify({ attempt: 1, claim: harness.claim, worker: WORKER });

const WRONG: [string, (harness: JobHarness) => Promise<string>][] = [
  ['a word', () => Promise.resolve('x')],
  ['a token in form that we did not sign', () => Promise.resolve(`9999999999.${'A'.repeat(43)}`)],
  ["another job's token", () => tokenFor(newId())],
  ["the webhook's token", (harness) => tokenFor(harness.id, 1, { purpose: 'webhook' })],
  ['a token that is over', (harness) => tokenFor(harness.id, 1, {}, Date.now() - 1_001)],
];

describe('the worker routes', () => {
  it.each(WRONG)('reject a flood with %s before they read the body', async (_what, token) => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const { body, pulled } = watched(LARGE_BYTES);
    const answer = await from(open)(`/worker/jobs/${harness.id}/claim`, sent(await token(harness), body));
    expect(answer.status).toBe(401);
    expect(await answer.json()).toMatchObject({ code: 'invalid_token' });
    expect(pulled()).toBe(0);
  });

  it.each(WRONG)("count %s for the sender's address", async (_what, token) => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const limit = rejectingLimit();
    const answer = await from(limit)(`/worker/jobs/${harness.id}/claim`, sent(await token(harness), claim(harness)));
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('60');
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(await answer.json()).toMatchObject({ code: 'rate_limited' });
    expect(limit.asked).toEqual([`bad_key:${ADDRESS}`]);
  });

  it('accept a valid token during a flood from the same address', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const limit = rejectingLimit();
    const call = from(limit);
    const token = await tokenFor(harness.id);
    expect((await call(`/worker/jobs/${harness.id}/claim`, sent(token, claim(harness)))).status).toBe(200);
    const channel = `/worker/jobs/${harness.id}/channel?attempt=1&claim=${harness.claim}`;
    const opened = await call(channel, { headers: { upgrade: 'websocket', authorization: `Bearer ${token}` } });
    expect(opened.status).toBe(101);
    opened.webSocket?.accept();
    opened.webSocket?.close();
    expect(limit.asked).toEqual([]);
  });

  it('call no object and no database without a valid token', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const reads = vi.spyOn(env.DB, 'prepare');
    const objects = vi.spyOn(env.JOB, 'getByName');
    onTestFinished(() => [reads, objects].forEach((spy) => spy.mockRestore()));
    await from(open)(`/worker/jobs/${harness.id}/claim`, sent('x', claim(harness)));
    expect([reads.mock.calls, objects.mock.calls]).toEqual([[], []]);
  });
});

describe("the route of RunPod's webhook", () => {
  it("counts calls without the right token for the sender's address", async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const limit = rejectingLimit();
    const good = await tokenFor(harness.id, 1, { purpose: 'webhook' });
    const hook = (token: string) => `/hooks/runpod/${harness.id}/1?token=${token}`;
    const refused = await from(limit)(hook('x'), { method: 'POST', body: '{}' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60']);
    expect(limit.asked).toEqual([`bad_key:${ADDRESS}`]);
    expect((await from(open)(hook('x'), { method: 'POST', body: '{}' })).status).toBe(401);
    // A flood never blocks RunPod's own calls.
    expect((await from(limit)(hook(good), { method: 'POST', body: '{}' })).status).toBe(200);
    expect(limit.asked).toHaveLength(1);
  });
});
