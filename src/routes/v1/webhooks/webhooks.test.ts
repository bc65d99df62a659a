import { listDurableObjectIds, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { MAX_WEBHOOKS } from '../../../services/webhooks/request.ts';
import { MAX_SENDS_PER_HOUR } from '../../../contract/webhook.ts';
import { newClient, PNG, postJson, problemOf, submitted } from '../../../testing/gateway.ts';
import { frozenClock, until } from '../../../testing/job.ts';
import { always, first, Hook, hookOf, newHook, receivers, urlFor, verified } from '../../../testing/webhook.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { webhookPageSchema, webhookWithSecretSchema } from './schemas.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const jobEvent = z.object({
  type: z.string(),
  sequence: z.int(),
  data: z.object({ id: z.string(), status: z.string(), urls: z.object({ self: z.url() }) }),
});

describe('the events of a job', () => {
  it('go to every webhook of the account that wants them: its end by default, every status on request', async () => {
    const { at } = receivers();
    const { account, call } = await newClient();
    const ends = await hookOf(call);
    const all = await hookOf(call, { events: ['job.queued', 'job.running', 'job.succeeded'] });
    const none = await hookOf(call, { events: ['job.failed'] });
    const off = await hookOf(call, { enabled: false });
    const { id } = await submitted(call, { metadata: { order: '7' } });
    await runAsWorker(account, id, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
    await until(() => expect(at(all.url)).toHaveLength(3));
    await until(() => expect(at(ends.url)).toHaveLength(1));

    const seen = at(all.url).map((sent) => jobEvent.parse(verified(all.secret, sent)));
    const inOrder = seen.toSorted((a, b) => a.sequence - b.sequence);
    expect(inOrder.map((each) => each.type)).toEqual(['job.queued', 'job.running', 'job.succeeded']);
    expect(new Set(inOrder.map((each) => each.sequence)).size).toBe(3);
    expect(inOrder.map((each) => each.data.status)).toEqual(['queued', 'running', 'succeeded']);

    const end = jobEvent.parse(verified(ends.secret, first(at(ends.url))));
    expect(end).toEqual(inOrder[2]);
    const job = await (await call(new URL(end.data.urls.self).pathname)).json();
    expect(job).toMatchObject({ id, status: 'succeeded', metadata: { order: '7' } });
    expect(at(none.url).length + at(off.url).length).toBe(0);
  });

  it('go to no webhook of another account', async () => {
    const { at } = receivers();
    const stranger = await newHook();
    const { call } = await newClient();
    const own = await hookOf(call, { events: ['job.canceled'] });
    const { id } = await submitted(call);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await until(() => expect(at(own.url)).toHaveLength(1));
    expect(at(stranger.url)).toHaveLength(0);
  });

  it('have one id for all webhooks', async () => {
    const { at } = receivers();
    const { call } = await newClient();
    const [one, two] = [await hookOf(call), await hookOf(call)];
    const { id } = await submitted(call);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await until(() => expect([at(one.url).length, at(two.url).length]).toEqual([1, 1]));
    const ids = [one, two].map((hook) => at(hook.url)[0]?.headers['webhook-id']);
    expect(ids[0]).toMatch(new RegExp(`^evt_${id}_\\d+$`));
    expect(ids[1]).toBe(ids[0]);
  });
});

describe('a webhook', () => {
  it('shows its secret once, and is found again without it', async () => {
    const { call } = await newClient();
    const url = urlFor('once');
    const response = await call('/v1/webhooks', postJson({ url, description: 'orders' }));
    expect(response.status).toBe(201);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const made = webhookWithSecretSchema.parse(await response.json());
    expect(response.headers.get('location')).toMatch(new RegExp(`/v1/webhooks/${made.id}$`));
    expect(made.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(made).toMatchObject({
      url,
      description: 'orders',
      events: ['job.succeeded', 'job.failed', 'job.canceled', 'job.expired'],
      enabled: true,
      disabled: null,
      failing_since: null,
    });
    const { secret, ...rest } = made;
    const hook = new Hook(call, made);
    expect(await hook.get()).toEqual(rest);
    const list = await (await call('/v1/webhooks')).text();
    expect(webhookPageSchema.parse(JSON.parse(list))).toEqual({ data: [rest], has_more: false, next_cursor: null });
    expect(list).not.toContain(secret.slice(6, -4));
    const row = await env.DB.prepare('SELECT * FROM webhooks WHERE id = ?').bind(made.id).first();
    expect(JSON.stringify(row)).not.toContain(secret.slice(6, -4));
  });

  it('may bring its own secret', async () => {
    const { received } = receivers();
    const secret = `whsec_${crypto.getRandomValues(new Uint8Array(24)).toBase64()}`;
    const hook = await newHook({ secret });
    await hook.tried(await hook.ping(), 1);
    expect(verified(secret, first(received))).toMatchObject({ type: 'webhook.ping' });
  });

  it('can be changed, and missing fields do not change', async () => {
    const { at } = receivers();
    const hook = await newHook();
    const before = await hook.get();
    const url = urlFor('moved');
    expect(await hook.change({ url, events: ['job.canceled', 'job.canceled'] })).toMatchObject({
      url,
      events: ['job.canceled'],
      description: before.description,
      enabled: true,
    });
    const { id } = await submitted(hook.call);
    await hook.call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await until(() => expect(at(url)).toHaveLength(1));
    expect(at(hook.url)).toHaveLength(0);
  });

  it('keeps its queue while disabled, gets nothing new, and continues when enabled', async () => {
    const { answer, received } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    answer(hook.url, always(500));
    const id = await hook.hand();
    await hook.tried(id, 1);
    expect(await hook.change({ enabled: false })).toMatchObject({ enabled: false, disabled: { reason: 'owner' } });
    await hook.hand();
    clock.pass(3_600_000);
    answer(hook.url, always(200));
    expect(received).toHaveLength(1);
    await hook.change({ enabled: true });
    expect(await hook.tried(id, 2)).toMatchObject({ status: 'delivered' });
    expect((await hook.log()).data).toHaveLength(1);
  });

  it('is deleted with its log, and sends nothing more', async () => {
    const { answer, received } = receivers();
    const hook = await newHook();
    answer(hook.url, always(500));
    await hook.tried(await hook.hand(), 1);
    expect((await hook.call(hook.path(), { method: 'DELETE' })).status).toBe(204);
    expect((await hook.call(hook.path())).status).toBe(404);
    expect((await hook.call(hook.path(), { method: 'DELETE' })).status).toBe(404);
    expect(await (await hook.call('/v1/webhooks')).json()).toMatchObject({ data: [] });
    await hook.hand();
    expect(await hook.alarm()).toBeNull();
    const tables = await runInDurableObject(hook.object, (_webhook, state) =>
      state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'deliveries'").toArray(),
    );
    expect(tables).toEqual([]);
    expect(received).toHaveLength(1);
  });

  it('is one of sixteen at most, however many are made at once', async () => {
    const { call } = await newClient();
    const answers = await Promise.all(
      Array.from({ length: MAX_WEBHOOKS + 5 }, (_, index) =>
        call('/v1/webhooks', postJson({ url: urlFor(`n${index}`) })),
      ),
    );
    expect(answers.filter((each) => each.status === 201)).toHaveLength(MAX_WEBHOOKS);
    const refused = answers.find((each) => each.status !== 201);
    expect(await problemOf(refused ?? Response.error())).toMatchObject({ status: 422, code: 'too_many_webhooks' });
    const { data } = webhookPageSchema.parse(await (await call('/v1/webhooks')).json());
    expect(data).toHaveLength(MAX_WEBHOOKS);
  });
});

describe('the log of a webhook', () => {
  it('is paged newest first without doubles or gaps, and can be filtered', async () => {
    const { answer } = receivers();
    const hook = await newHook();
    const ids: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      answer(hook.url, always(count % 2 === 0 ? 200 : 500));
      const id = await hook.hand();
      await hook.tried(id, 1);
      ids.unshift(id);
    }
    const newest = await hook.log('?limit=2');
    const second = await hook.log(`?limit=2&cursor=${newest.next_cursor}`);
    // What arrives in between moves no page.
    await hook.tried(await hook.hand(), 1);
    const third = await hook.log(`?limit=2&cursor=${second.next_cursor}`);
    const seen = [newest, second, third].flatMap((page) => page.data.map((each) => each.id));
    expect(seen).toEqual(ids);
    expect(third).toMatchObject({ has_more: false, next_cursor: null });
    const pending = await hook.log('?status=pending');
    expect(pending.data.map((each) => each.id)).toEqual([ids[1], ids[3]]);
  });

  it.each([
    ['?limit=0', 'invalid_parameter'],
    ['?limit=101', 'invalid_parameter'],
    ['?status=done', 'invalid_parameter'],
    ['?cursor=x', 'invalid_cursor'],
    ['?cursor=ZDA', 'invalid_cursor'],
    [`?cursor=${btoa('d-1')}`, 'invalid_cursor'],
    [`?cursor=${btoa('d1e9').replaceAll('=', '')}`, 'invalid_cursor'],
  ])('refuses %s', async (query, code) => {
    const hook = await newHook();
    expect(await problemOf(await hook.call(hook.path(`/deliveries${query}`)))).toMatchObject({ status: 400, code });
  });
});

describe('sending again', () => {
  it('sends one delivery with the same id and body, and a whole new schedule', async () => {
    const { answer, received } = receivers();
    const hook = await newHook();
    const id = await hook.hand();
    await hook.tried(id, 1);
    answer(hook.url, always(500));
    const response = await hook.call(hook.path(`/deliveries/${id}/redeliver`), { method: 'POST' });
    expect(response.status).toBe(202);
    expect(await hook.tried(id, 2)).toMatchObject({ status: 'pending', attempts: [{ number: 1 }, { number: 2 }] });
    expect(received[1]?.body).toBe(received[0]?.body);
    expect(received[1]?.headers['webhook-id']).toBe(id);
  });

  it('sends all that failed in a time, and nothing else', async () => {
    const { answer, received } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const at = async (status: number) => {
      answer(hook.url, always(status));
      const id = await hook.ping();
      await hook.tried(id, 1);
      clock.pass(60_000);
      return id;
    };
    await at(500);
    const since = new Date().toISOString();
    const wanted = [await at(500), await at(404)];
    await at(200);
    const end = new Date().toISOString();
    await at(500);
    answer(hook.url, always(200));
    const before = received.length;
    const again = await hook.call(hook.path('/redeliver'), postJson({ since, until: end }));
    expect({ status: again.status, body: await again.json() }).toEqual({ status: 202, body: { redelivered: 2 } });
    await Promise.all(wanted.map((id) => hook.tried(id, 2)));
    expect(
      received
        .slice(before)
        .map((each) => each.headers['webhook-id'])
        .sort(),
    ).toEqual(wanted.toSorted());
    const all = await hook.call(hook.path('/redeliver'), postJson({ since, until: end, status: 'any' }));
    expect(await all.json()).toEqual({ redelivered: 3 });
  });

  it('refuses pings and redeliveries of a time beyond MAX_SENDS_PER_HOUR, with the time to wait', async () => {
    receivers();
    const clock = frozenClock();
    const hook = await newHook();
    for (let sent = 0; sent < MAX_SENDS_PER_HOUR - 1; sent += 1) {
      await hook.ping();
    }
    const range = postJson({ since: new Date(0).toISOString() });
    expect((await hook.call(hook.path('/redeliver'), range)).status).toBe(202);
    clock.pass(600_000);
    for (const [path, init] of [
      ['/ping', { method: 'POST' }],
      ['/redeliver', range],
    ] as const) {
      const answer = await hook.call(hook.path(path), init);
      expect(answer.headers.get('retry-after')).toBe('3000');
      expect(await problemOf(answer)).toMatchObject({ status: 429, code: 'rate_limited' });
    }
    expect((await hook.log('?limit=100')).data).toHaveLength(MAX_SENDS_PER_HOUR - 1);
    clock.pass(3_000_000);
    await hook.ping();
  });

  it('sends nothing from a webhook that is off', async () => {
    const { received } = receivers();
    const hook = await newHook();
    const id = await hook.hand();
    await hook.tried(id, 1);
    await hook.change({ enabled: false });
    for (const [path, init] of [
      ['/ping', { method: 'POST' }],
      [`/deliveries/${id}/redeliver`, { method: 'POST' }],
      ['/redeliver', postJson({ since: '2020-01-01T00:00:00Z', status: 'any' })],
    ] as const) {
      expect(await problemOf(await hook.call(hook.path(path), init))).toMatchObject({ code: 'webhook_disabled' });
    }
    expect(received).toHaveLength(1);
  });
});

describe('a body', () => {
  const url = urlFor('x');
  it.each([
    [{}, 'required', '#/url'],
    [{ url: 7 }, 'invalid_type', '#/url'],
    [{ url: 'http://hooks.acme.com' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://127.0.0.1/' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://[::ffff:169.254.169.254]/' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://0x7f.1/' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://user:pass@hooks.acme.com' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://hooks.acme.com:6379' }, 'url_not_allowed', '#/url'],
    [{ url: 'https://gateway.test/v1/jobs' }, 'url_not_allowed', '#/url'],
    [{ url: `https://a.com/${'x'.repeat(2048)}` }, 'url_not_allowed', '#/url'],
    [{ url, events: [] }, 'out_of_range', '#/events'],
    [{ url, events: ['job.done'] }, 'invalid_value', '#/events/0'],
    [{ url, events: ['webhook.ping'] }, 'invalid_value', '#/events/0'],
    [{ url, events: Array.from({ length: 20_000 }, () => 1) }, 'out_of_range', '#/events'],
    [{ url, description: 'x'.repeat(201) }, 'out_of_range', '#/description'],
    [{ url, enabled: 'yes' }, 'invalid_type', '#/enabled'],
    [{ url, secret: 'secret' }, 'invalid_value', '#/secret'],
    [{ url, secret: `whsec_${new Uint8Array(23).toBase64()}` }, 'invalid_value', '#/secret'],
    [{ url, secret: `whsec_${new Uint8Array(65).toBase64()}` }, 'invalid_value', '#/secret'],
    [{ url, account: 'other' }, 'unknown_field', '#/account'],
  ])('with a fault makes no webhook (case %#)', async (body, code, pointer) => {
    const { call } = await newClient();
    const seen = await problemOf(await call('/v1/webhooks', postJson(body)));
    expect(seen).toMatchObject({ status: 422, code, errors: [{ pointer }] });
    expect(await (await call('/v1/webhooks')).json()).toMatchObject({ data: [] });
  });

  it('reports all its issues at once', async () => {
    const { call } = await newClient();
    const seen = await problemOf(
      await call('/v1/webhooks', postJson({ url: 'https://10.0.0.1', events: ['x'], a: 1 })),
    );
    expect(seen.code).toBe('invalid_request');
    expect(seen.errors?.map((each) => each.code).sort()).toEqual(['invalid_value', 'unknown_field', 'url_not_allowed']);
  });

  it('does not change with an invalid body', async () => {
    const hook = await newHook();
    const before = await hook.get();
    for (const body of [{ url: 'https://localhost' }, { events: [] }, { secret: hook.secret }, { enabled: null }]) {
      const response = await hook.call(hook.path(), { ...postJson(body), method: 'PATCH' });
      expect((await problemOf(response)).status).toBe(422);
    }
    for (const body of [{ overlap: -1 }, { overlap: 604_801 }, { overlap: 0.5 }, { secret: 'x' }]) {
      expect((await problemOf(await hook.call(hook.path('/rotate'), postJson(body)))).status).toBe(422);
    }
    for (const body of [{}, { since: 'yesterday' }, { since: 0 }, { since: '2026-01-01T00:00:00Z', status: 'done' }]) {
      expect((await problemOf(await hook.call(hook.path('/redeliver'), postJson(body)))).status).toBe(422);
    }
    expect(await hook.get()).toEqual(before);
  });
});

describe("another account's webhook", () => {
  const routes: [string, RequestInit][] = [
    ['', {}],
    ['', { ...postJson({ enabled: false }), method: 'PATCH' }],
    ['', { method: 'DELETE' }],
    ['/rotate', { method: 'POST' }],
    ['/ping', { method: 'POST' }],
    ['/deliveries', {}],
    ['/deliveries/DELIVERY', {}],
    ['/deliveries/DELIVERY/redeliver', { method: 'POST' }],
    ['/redeliver', postJson({ since: '2020-01-01T00:00:00Z', status: 'any' })],
  ];

  it.each(routes)('is not found and does not change: %s %j', async (rest, init) => {
    const { received } = receivers();
    const hook = await newHook();
    const delivery = await hook.hand();
    await hook.tried(delivery, 1);
    const before = await hook.get();
    const stranger = await newClient();
    const seen = async (id: string) => {
      const headers = new Headers(init.headers);
      headers.set('x-request-id', 'same');
      const path = `/v1/webhooks/${id}${rest.replace('DELIVERY', delivery)}`;
      const response = await stranger.call(path, { ...init, headers });
      return { status: response.status, headers: [...response.headers], body: await response.text() };
    };
    const foreign = await seen(hook.id);
    expect(foreign.status).toBe(404);
    expect(foreign).toEqual(await seen(NOBODY));
    expect(foreign).toEqual(await seen('no-id-at-all'));
    expect(await hook.get()).toEqual(before);
    expect(received).toHaveLength(1);
  });

  it('is in no list', async () => {
    await newHook();
    const { call } = await newClient();
    expect(await (await call('/v1/webhooks')).json()).toEqual({ data: [], has_more: false, next_cursor: null });
  });
});

it('a made-up id makes no object', async () => {
  const { call } = await newClient();
  const before = (await listDurableObjectIds(env.WEBHOOK)).length;
  for (const id of ['x', '..', NOBODY.toUpperCase(), NOBODY.replace('-7', '-4'), '%00', 'a'.repeat(2_000)]) {
    for (const rest of ['', '/deliveries', '/deliveries/evt_1']) {
      expect((await call(`/v1/webhooks/${id}${rest}`)).status).toBeGreaterThanOrEqual(400);
    }
    await call(`/v1/webhooks/${id}/ping`, { method: 'POST' });
  }
  expect(await listDurableObjectIds(env.WEBHOOK)).toHaveLength(before);
});
