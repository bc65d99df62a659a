import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, it, vi } from 'vitest';
import { DELAYS_MS } from '../../domain/webhook/schedule.ts';
import { frozenClock, until } from '../../testing/job.ts';
import { always, crash, first, hookOf, newHook, receivers, urlFor, verified } from '../../testing/webhook.ts';

/**
 * Guards delivery from a real Webhook object: a delivery is repeated with the same id until it succeeds or expires,
 * also over a crash between the POST and its answer, and a slow receiver delays no other.
 */

/** Without jitter, so that times are exact. */
const noJitter = () => vi.spyOn(Math, 'random').mockReturnValue(0);

describe('a delivery', () => {
  it('is verified by the official library, at once, with the content of the log', async () => {
    const { received } = receivers();
    const hook = await newHook();
    const id = await hook.ping();
    const { status, attempts, body } = await hook.tried(id, 1);
    expect({ status, attempts: attempts.map((each) => each.outcome) }).toEqual({
      status: 'delivered',
      attempts: ['delivered'],
    });
    expect(received).toHaveLength(1);
    const [sent] = received;
    expect(verified(hook.secret, first(received))).toEqual(JSON.parse(body));
    expect(sent?.headers).toMatchObject({ 'content-type': 'application/json', 'webhook-id': id });
    expect(sent?.init).toMatchObject({ method: 'POST', redirect: 'manual' });
  });

  it('is rejected by the official library when its body, id or secret differs', async () => {
    const { received } = receivers();
    const hook = await newHook();
    await hook.tried(await hook.ping(), 1);
    const sent = first(received);
    const other = await newHook();
    expect(() => verified(hook.secret, { ...sent, body: `${sent.body} ` })).toThrow('matching signature');
    expect(() => verified(hook.secret, { ...sent, headers: { ...sent.headers, 'webhook-id': 'evt_other' } })).toThrow(
      'matching signature',
    );
    expect(() => verified(other.secret, sent)).toThrow('matching signature');
  });

  it('is sent ten times over three days, with the same id and body and a new timestamp, then fails', async () => {
    const { answer, received } = receivers();
    const clock = frozenClock();
    noJitter();
    const hook = await newHook();
    answer(hook.url, always(500));
    const started = Date.now();
    const id = await hook.hand();
    await hook.tried(id, 1);
    for (const [index, delay] of DELAYS_MS.slice(1).entries()) {
      expect(await hook.alarm()).toBe(Date.now() + delay);
      clock.pass(delay - 1);
      await hook.ring();
      expect(received).toHaveLength(index + 1);
      clock.pass(1);
      await hook.ring();
      await hook.tried(id, index + 2);
    }
    expect(Date.now() - started).toBeGreaterThanOrEqual(72 * 3_600_000);
    const { status, next_attempt_at, attempts } = await hook.delivery(id);
    expect({ status, next_attempt_at }).toEqual({ status: 'failed', next_attempt_at: null });
    expect(attempts.map((each) => [each.number, each.outcome, each.response_status])).toEqual(
      DELAYS_MS.map((_, index) => [index + 1, 'rejected', 500]),
    );
    expect(new Set(received.map((each) => each.headers['webhook-id']))).toEqual(new Set([id]));
    expect(new Set(received.map((each) => each.body)).size).toBe(1);
    expect(new Set(received.map((each) => each.headers['webhook-timestamp'])).size).toBe(DELAYS_MS.length);
    for (const each of received) {
      vi.setSystemTime(Number(each.headers['webhook-timestamp']) * 1000);
      verified(hook.secret, each);
    }
  });

  it.each([200, 201, 202, 204, 299])('is delivered with an answer of %i', async (status) => {
    const { answer } = receivers();
    const hook = await newHook();
    answer(hook.url, () => new Response(status === 204 ? null : 'x'.repeat(10_000), { status }));
    expect(await hook.tried(await hook.hand(), 1)).toMatchObject({ status: 'delivered' });
  });

  it.each([301, 302, 303, 307, 308, 400, 401, 403, 404, 409, 422, 500, 503])(
    'is retried after an answer of %i, without following a redirect',
    async (status) => {
      const { answer, received } = receivers();
      const hook = await newHook();
      answer(hook.url, always(status, { location: urlFor('elsewhere') }));
      expect(await hook.tried(await hook.hand(), 1)).toMatchObject({ status: 'pending' });
      expect(received.map((each) => each.url)).toEqual([hook.url]);
    },
  );

  it('is retried without an answer, and the log tells a timeout from an unreachable receiver', async () => {
    const { answer } = receivers();
    const timeout = vi.spyOn(AbortSignal, 'timeout');
    const [slow, gone] = await Promise.all([newHook(), newHook()]);
    answer(slow.url, () => Promise.reject(new DOMException('late', 'TimeoutError')));
    answer(gone.url, () => Promise.reject(new TypeError('refused')));
    const [late, missing] = await Promise.all([slow.tried(await slow.hand(), 1), gone.tried(await gone.hand(), 1)]);
    expect(late).toMatchObject({ status: 'pending', attempts: [{ outcome: 'timeout', response_status: null }] });
    expect(missing).toMatchObject({ status: 'pending', attempts: [{ outcome: 'unreachable', response_status: null }] });
    expect(timeout).toHaveBeenCalledWith(20_000);
    timeout.mockRestore();
  });

  it('is sent again with the same id when the gateway crashes between POST and answer', async () => {
    const { answer, received } = receivers();
    const hook = await newHook();
    answer(hook.url, () => new Promise(() => {}));
    const id = await hook.hand();
    await until(() => expect(received).toHaveLength(1));
    await crash();
    answer(hook.url, always(204));
    await hook.ring();
    expect(await hook.tried(id, 1)).toMatchObject({ status: 'delivered' });
    expect(received.map((each) => each.headers['webhook-id'])).toEqual([id, id]);
    expect(received[1]?.body).toBe(received[0]?.body);
  });

  it('is made once for an event that is queued several times', async () => {
    const { received } = receivers();
    const hook = await newHook();
    const id = await hook.hand();
    await hook.tried(id, 1);
    await Promise.all(Array.from({ length: 10 }, () => hook.hand(id)));
    expect((await hook.log()).data.map((each) => each.id)).toEqual([id]);
    expect(received).toHaveLength(1);
  });
});

describe('a slow receiver', () => {
  it('delays no other receiver, and uses at most five connections', async () => {
    const { answer, at } = receivers();
    const slow = await newHook();
    const quick = await hookOf(slow.call);
    answer(slow.url, () => new Promise(() => {}));
    await Promise.all(Array.from({ length: 20 }, () => slow.hand()));
    await until(() => expect(at(slow.url)).toHaveLength(5));
    await Promise.all(Array.from({ length: 20 }, async () => quick.tried(await quick.hand(), 1)));
    expect(at(quick.url)).toHaveLength(20);
    expect(at(slow.url)).toHaveLength(5);
  });

  it('gets the next delivery as soon as a connection is free', async () => {
    const { answer, at } = receivers();
    const hook = await newHook();
    const held = Promise.withResolvers<null>();
    answer(hook.url, async () => {
      await held.promise;
      return new Response();
    });
    const ids = await Promise.all(Array.from({ length: 12 }, () => hook.hand()));
    await until(() => expect(at(hook.url)).toHaveLength(5));
    await runInDurableObject(hook.object, () => held.resolve(null));
    await until(async () =>
      expect((await hook.log('?status=delivered')).data.map((each) => each.id).sort()).toEqual(ids.toSorted()),
    );
    expect(at(hook.url)).toHaveLength(12);
  });
});

describe('a receiver that asks for a pause', () => {
  it.each([
    ['429 with seconds', 429, '120', 120_000],
    ['503 with seconds', 503, '600', 600_000],
    ['429 without', 429, null, 60_000],
    ['502', 502, null, 60_000],
    ['504', 504, null, 60_000],
    ['429 for longer than a day', 429, '999999999', 86_400_000],
    ['429 with nonsense', 429, 'soon', 60_000],
  ])('gets nothing until its pause ends: %s', async (_title, status, retryAfter, pause) => {
    const { answer, received } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    answer(hook.url, always(status, retryAfter === null ? {} : { 'retry-after': retryAfter }));
    const one = await hook.hand();
    await hook.tried(one, 1);
    const over = Date.now() + pause;
    expect(await hook.get()).toMatchObject({ held_until: new Date(over).toISOString() });
    const second = await hook.hand();
    expect(await hook.alarm()).toBe(over);
    answer(hook.url, always(204));
    clock.pass(pause - 1);
    await hook.ring();
    expect(received).toHaveLength(1);
    clock.pass(1);
    await hook.ring();
    await hook.tried(second, 1);
    await hook.tried(one, 2);
    expect(await hook.get()).toMatchObject({ held_until: null, failing_since: null });
  });
});

describe('a webhook is disabled', () => {
  it('by an answer of 410, with the reason; pending deliveries are kept and sent when it is enabled', async () => {
    const { answer, received } = receivers();
    const hook = await newHook();
    answer(hook.url, always(410));
    const id = await hook.hand();
    await hook.tried(id, 1);
    expect(await hook.get()).toMatchObject({ enabled: false, disabled: { reason: 'gone' } });
    await hook.hand();
    expect((await hook.log()).data).toHaveLength(1);
    expect(received).toHaveLength(1);
    answer(hook.url, always(200));
    const refused = await hook.call(hook.path('/ping'), { method: 'POST' });
    expect(refused.status).toBe(422);
    expect(await hook.change({ enabled: true })).toMatchObject({ enabled: true, disabled: null, failing_since: null });
    const resent = await hook.call(hook.path(`/deliveries/${id}/redeliver`), { method: 'POST' });
    expect(resent.status).toBe(202);
    expect(await hook.tried(id, 2)).toMatchObject({ status: 'delivered' });
  });

  it('after 120 hours of failures only, and not with a success in between', async () => {
    const { answer } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const fails = async () => {
      answer(hook.url, always(500));
      await hook.tried(await hook.hand(), 1);
    };
    await fails();
    const since = new Date().toISOString();
    clock.pass(119 * 3_600_000);
    await fails();
    expect(await hook.get()).toMatchObject({ enabled: true, failing_since: since });
    answer(hook.url, always(200));
    await hook.tried(await hook.hand(), 1);
    expect(await hook.get()).toMatchObject({ failing_since: null });
    await fails();
    clock.pass(120 * 3_600_000);
    await fails();
    const { enabled, disabled } = await hook.get();
    expect({ enabled, disabled }).toEqual({
      enabled: false,
      disabled: {
        reason: 'failing',
        at: new Date().toISOString(),
        detail: 'Every attempt failed for 120 hours.',
      },
    });
  });

  it("and the account's other webhooks get an event about it", async () => {
    const { answer, at } = receivers();
    const hook = await newHook();
    const watcher = await hookOf(hook.call, { events: ['webhook.disabled'] });
    const deaf = await hookOf(hook.call);
    answer(hook.url, always(410));
    await hook.hand();
    await until(() => expect(at(watcher.url)).toHaveLength(1));
    expect(verified(watcher.secret, first(at(watcher.url)))).toMatchObject({
      type: 'webhook.disabled',
      data: { id: hook.id, url: hook.url, reason: 'gone' },
    });
    expect(at(deaf.url)).toHaveLength(0);
  });
});

describe('a rotated secret', () => {
  it('signs together with the new one until it expires', async () => {
    const { at } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const response = await hook.call(hook.path('/rotate'), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ overlap: 3600 }),
    });
    expect(response.status).toBe(200);
    const { secret } = await response.json<{ secret: string }>();
    expect(secret).not.toBe(hook.secret);
    const newest = async () => {
      await hook.tried(await hook.ping(), 1);
      return first(at(hook.url).toReversed());
    };
    clock.pass(3_599_999);
    const during = await newest();
    verified(secret, during);
    verified(hook.secret, during);
    clock.pass(1);
    const after = await newest();
    verified(secret, after);
    expect(() => verified(hook.secret, after)).toThrow('matching signature');
    expect((await hook.get()).secrets).toHaveLength(1);
  });

  it('expires at once without an overlap, and at most five secrets sign', async () => {
    const { received } = receivers();
    const hook = await newHook();
    const rotate = async (body: string) => {
      const headers = { 'content-type': 'application/json' };
      return (await hook.call(hook.path('/rotate'), { method: 'POST', headers, body })).json<{ secret: string }>();
    };
    for (let times = 0; times < 7; times += 1) {
      await rotate('{}');
    }
    expect((await hook.get()).secrets).toHaveLength(5);
    const { secret } = await rotate('{"overlap": 0}');
    expect((await hook.get()).secrets).toEqual([
      { hint: secret.slice(-4), created_at: expect.any(String) as string, expires_at: null },
    ]);
    await hook.tried(await hook.ping(), 1);
    expect(received[0]?.headers['webhook-signature']?.split(' ')).toHaveLength(1);
  });
});

describe('the log', () => {
  it('deletes deliveries after two weeks, and no younger ones', async () => {
    receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const id = await hook.hand();
    await hook.tried(id, 1);
    clock.pass(14 * 86_400_000);
    await hook.ring();
    expect((await hook.log()).data).toHaveLength(1);
    clock.pass(2);
    await hook.ring();
    expect((await hook.log()).data).toEqual([]);
  });
});
