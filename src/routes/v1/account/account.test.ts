import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  ADMIN_TOKEN,
  answerRunpod,
  anyone,
  GRAPH,
  newClient,
  postJson,
  problemOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { newId } from '../../../testing/job.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { usageOf } from '../../../storage/d1/usage.ts';
import { jobSchema } from '../schemas.ts';

const put = (account: string, limits: unknown, token = ADMIN_TOKEN) =>
  anyone(`/v1/accounts/${account}/limits`, {
    ...postJson(limits),
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  });

const read = async (call: Call, id: string) => jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());

describe('the RateLimit headers', () => {
  it('are on every response to a key, refusals included, and on no other', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const job = await submitted(call);
    for (const answer of [
      await call('/v1/jobs'),
      await call(`/v1/jobs/${job.id}`),
      await call('/v1/jobs/none'),
      await call('/v1/jobs', postJson({})),
      await call('/v1/assets', { method: 'POST', body: '' }),
      await call(`/v1/accounts/${account}/limits`),
    ]) {
      expect(answer.headers.get('ratelimit-policy')).toBe(
        '"submits";q=120;w=60;qu="requests", "jobs";q=20;qu="concurrent-requests", "queued";q=100;qu="concurrent-requests"',
      );
      expect(answer.headers.get('ratelimit')).toMatch(/^"submits";r=119;t=\d+, "jobs";r=19, "queued";r=100$/);
    }
    expect((await anyone('/v1/jobs')).headers.has('ratelimit')).toBe(false);
  });

  it('count concurrent submits exactly, and refusals have a Retry-After', async () => {
    answerRunpod();
    // A new minute would begin a new count.
    vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 60_000) * 60_000 + 1_000 });
    onTestFinished(() => void vi.useRealTimers());
    const { account, call } = await newClient();
    await put(account, { submits_per_minute: 20, jobs_in_flight: 5, max_queued: 1000 });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => call('/v1/jobs', postJson({ workflow: GRAPH }))),
    );
    const left = (answer: Response) => Number(/r=(\d+)/.exec(answer.headers.get('ratelimit') ?? '')?.[1]);
    const accepted = answers.filter(({ status }) => status === 201).map(left);
    expect(accepted.toSorted((a, b) => b - a)).toEqual(Array.from({ length: 20 }, (_, at) => 19 - at));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(10);
    for (const answer of refused) {
      const t = Number(/"submits";r=0;t=(\d+)/.exec(answer.headers.get('ratelimit') ?? '')?.[1]);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(t);
      expect(await problemOf(answer)).toMatchObject({ code: 'rate_limited', 'violated-policies': ['submits'] });
    }
  });
});

describe('a job without a free slot', () => {
  it('is accepted, waits, and runs when a slot is free', async () => {
    const runpod = answerRunpod();
    const { account, call } = await newClient();
    await put(account, { jobs_in_flight: 1 });
    const first = await submitted(call);
    const second = await submitted(call);
    const third = await submitted(call, { priority: 'high' });
    expect([first.stage, second.stage, third.stage]).toEqual(['capacity', 'admission', 'admission']);
    await runAsWorker(account, first.id, [
      { name: 'a.txt', content_type: 'text/plain', bytes: new TextEncoder().encode('a') },
    ]);
    await vi.waitFor(async () => expect((await read(call, third.id)).stage).toBe('capacity'));
    await vi.waitFor(() => expect(runpod.runs).toContain(third.id));
    expect((await read(call, second.id)).stage).toBe('admission');
    await (await call(`/v1/jobs/${third.id}/cancel`, { method: 'POST' })).text();
    await vi.waitFor(async () => expect((await read(call, second.id)).stage).toBe('capacity'));
    await vi.waitFor(() => expect(runpod.runs).toContain(second.id));
    const mine = new Set([first.id, second.id, third.id]);
    expect(runpod.runs.filter((job) => mine.has(job))).toEqual([first.id, third.id, second.id]);
  });

  it('can be canceled while it waits, and never reaches a GPU', async () => {
    const runpod = answerRunpod();
    const { account, call } = await newClient();
    await put(account, { jobs_in_flight: 0 });
    const { id } = await submitted(call);
    const canceled = jobSchema.parse(await (await call(`/v1/jobs/${id}/cancel`, { method: 'POST' })).json());
    expect(canceled).toMatchObject({ status: 'canceled', usage: { billed_seconds: 0, cost_usd: null } });
    expect(runpod.calls).toEqual([]);
  });

  it('is refused when its cost would pass the budget', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await put(account, { gpu_seconds_per_day: 100 });
    await submitted(call, { finish_within: 60 });
    const answer = await call('/v1/jobs', postJson({ workflow: GRAPH, finish_within: 60 }));
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await problemOf(answer)).toMatchObject({
      status: 402,
      code: 'budget_exceeded',
      'violated-policies': ['budget'],
    });
  });
});

describe('limits', () => {
  it('are set by the operator, audited, and readable by the account', async () => {
    const { account, key, call } = await newClient();
    expect((await put(account, { max_queued: 7 })).status).toBe(200);
    expect(await (await call(`/v1/accounts/${account}/limits`)).json()).toMatchObject({
      account,
      max_queued: 7,
      jobs_in_flight: 20,
      usd_per_day: null,
    });
    expect((await put(account, { max_queued: 8 }, key)).status).toBe(403);
    const log = await anyone(`/v1/audit?account=${account}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    expect(await log.json()).toMatchObject({
      data: expect.arrayContaining([
        expect.objectContaining({ action: 'limits.set', target: account, changes: { max_queued: 7 } }),
      ]),
    });
  });

  it('are not found for other and for missing accounts', async () => {
    const { call } = await newClient();
    const { account } = await newClient();
    expect((await call(`/v1/accounts/${account}/limits`)).status).toBe(404);
    expect((await put('No-Account', {})).status).toBe(404);
  });

  it.each([{ max_queued: -1 }, { jobs_in_flight: 1.5 }, { usd_per_day: 'all' }, { other: 1 }])(
    'refuse %j',
    async (limits) => {
      const { account } = await newClient();
      expect((await put(account, limits)).status).toBe(422);
    },
  );
});

describe('usage', () => {
  const DAY = Date.UTC(2026, 0, 31);
  const used = (account: string, over: Partial<Parameters<typeof usageOf>[1]>) =>
    usageOf(env.DB, {
      id: crypto.randomUUID(),
      account,
      key: 'k1',
      endpoint: 'default',
      status: 'succeeded',
      completed_at: DAY,
      gpu_ms: 1_500,
      micro_usd: 750,
      price_per_second: 0.0005,
      metadata: {},
      ...over,
    });

  it('is summed by day, by key or both, as JSON and CSV, for the own account', async () => {
    const { account, call } = await newClient();
    const twice = used(account, { id: `twice-${account}` });
    await env.DB.batch([
      twice,
      twice,
      used(account, { key: 'k2', status: 'failed', completed_at: DAY + 86_399_999 }),
      used(account, { key: 'k2', completed_at: DAY + 86_400_000, micro_usd: 0, price_per_second: null }),
      used(account, { completed_at: DAY - 1 }),
      used('someone-else', {}),
    ]);
    const get = async (query: string) =>
      (await call(`/v1/usage?from=2026-01-31&to=2026-02-01${query}`)).json<{ data: unknown[] }>();
    const line = { billed_seconds: 1.5, cost_usd: 0.00075, jobs: 1, succeeded: 1 };
    expect((await get('')).data).toEqual([
      { day: '2026-01-31', key: null, jobs: 2, succeeded: 1, billed_seconds: 3, cost_usd: 0.0015 },
      { ...line, day: '2026-02-01', key: null, cost_usd: 0 },
    ]);
    expect((await get('&group_by=key')).data).toEqual([
      { ...line, day: null, key: 'k1' },
      { day: null, key: 'k2', jobs: 2, succeeded: 1, billed_seconds: 3, cost_usd: 0.00075 },
    ]);
    const csv = await call('/v1/usage?from=2026-01-31&to=2026-01-31&group_by=day,key', {
      headers: { accept: 'text/csv' },
    });
    expect(csv.headers.get('content-type')).toContain('text/csv');
    expect(await csv.text()).toBe(
      'day,key,jobs,succeeded,billed_seconds,cost_usd\r\n2026-01-31,k1,1,1,1.5,0.00075\r\n2026-01-31,k2,1,0,1.5,0.00075\r\n',
    );
  });

  it('is listed job by job with metadata, in pages and as CSV, for the own account', async () => {
    const { account, call } = await newClient();
    const ids = Array.from({ length: 5 }, () => newId());
    const metadata = { customer: '=HYPERLINK("http://evil")', note: 'a "b", c' };
    await env.DB.batch([
      // Each pair ended in the same millisecond, so only their ids differ.
      ...ids.map((id, at) => used(account, { id, metadata, completed_at: DAY + Math.floor(at / 2) })),
      used(account, { id: newId(), completed_at: DAY - 1 }),
      used('someone-else', { id: newId() }),
    ]);
    const get = async (query: string) => {
      const answer = await call(`/v1/usage?from=2026-01-31&to=2026-01-31&group_by=job${query}`);
      expect(answer.status).toBe(200);
      return answer.json<{ data: { job: string }[]; has_more: boolean; next_cursor: string | null }>();
    };
    const pages = [];
    for (let cursor = ''; ;) {
      const page = await get(`&limit=2${cursor}`);
      pages.push(page.data.map(({ job }) => job));
      if (page.next_cursor === null) {
        break;
      }
      cursor = `&cursor=${page.next_cursor}`;
    }
    expect(pages).toEqual([ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
    expect((await get('')).data[0]).toEqual({
      job: ids[0],
      key: 'k1',
      endpoint: 'default',
      status: 'succeeded',
      completed_at: '2026-01-31T00:00:00.000Z',
      billed_seconds: 1.5,
      cost_usd: 0.00075,
      metadata,
    });
    const csv = await call('/v1/usage?from=2026-01-31&to=2026-01-31&group_by=job&format=csv');
    const [header, first, ...rest] = (await csv.text()).split('\r\n');
    expect(header).toBe('job,key,endpoint,status,completed_at,billed_seconds,cost_usd,metadata');
    expect(first).toBe(
      `${ids[0]},k1,default,succeeded,2026-01-31T00:00:00.000Z,1.5,0.00075,"${JSON.stringify(metadata).replaceAll('"', '""')}"`,
    );
    expect(rest).toHaveLength(5);
  });

  it('is complete as CSV for many jobs', async () => {
    const { account, call } = await newClient();
    const ids = Array.from({ length: 1_001 }, () => newId());
    await env.DB.batch(ids.map((id) => used(account, { id })));
    const csv = await (await call('/v1/usage?from=2026-01-31&to=2026-01-31&group_by=job&format=csv')).text();
    expect(
      csv
        .trimEnd()
        .split('\r\n')
        .slice(1)
        .map((line) => line.slice(0, 36)),
    ).toEqual(ids);
  });

  it('keeps the usage of an erased job, without its metadata', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id, urls } = await submitted(call, { metadata: { customer: 'Jane' } });
    await (await call(urls.cancel, { method: 'POST' })).text();
    const lines = async () =>
      (await (await call('/v1/usage?group_by=job')).json<{ data: { job: string; metadata: object }[] }>()).data;
    await vi.waitFor(async () => expect(await lines()).toMatchObject([{ job: id, metadata: { customer: 'Jane' } }]));
    await vi.waitFor(async () => {
      await call(urls.self, { method: 'DELETE' });
      expect(await lines()).toMatchObject([{ job: id, metadata: {} }]);
    });
  });

  it('has a line for each finished job', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    await (await call(`/v1/jobs/${id}/cancel`, { method: 'POST' })).text();
    const usage = async () => (await call('/v1/usage')).json();
    await vi.waitFor(async () => expect(await usage()).toMatchObject({ data: [{ jobs: 1, billed_seconds: 0 }] }));
  });

  it.each([
    'from=2020-01-01',
    'group_by=endpoint',
    'format=xml',
    'from=2026-01-02&to=2026-01-01',
    'from=2025-01-01&to=2026-12-31',
    'from=x&to=y',
    'to=0000-01-15',
    'from=1969-12-31&to=1970-01-01',
    'group_by=job,day',
    'group_by=job&limit=0',
    'group_by=job&limit=101',
    'group_by=job&format=csv&limit=5',
    'group_by=job&format=csv&cursor=YTAxODkwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMA',
  ])('is refused for "%s"', async (query) => {
    const { call } = await newClient();
    expect(await problemOf(await call(`/v1/usage?${query}`))).toMatchObject({ code: 'invalid_parameter' });
  });
});
