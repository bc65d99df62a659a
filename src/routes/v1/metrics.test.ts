import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ADMIN_TOKEN, newClient, problemOf, submitted } from '../../testing/gateway.ts';
import { fakeRunpod, frozenClock, runpodHealth, until } from '../../testing/job.ts';
import { always, newHook, receivers } from '../../testing/webhook.ts';
import { as, madeKey } from '../../testing/keys.ts';

const operator = as(ADMIN_TOKEN);

let tests = 0;

/** A time at which every stored answer of RunPod from another test is stale. */
function laterClock() {
  const clock = frozenClock();
  tests += 1;
  clock.pass(tests * 10_000);
  return clock;
}

/** Samples by name and labels, after checking that the whole is in Prometheus' format. */
async function scraped(): Promise<Map<string, number>> {
  const answer = await operator('/v1/metrics');
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const samples = new Map<string, number>();
  const known = new Set<string>();
  for (const line of (await answer.text()).trimEnd().split('\n')) {
    const head = /^# (?:HELP (\S+) .+|TYPE \S+ (?:gauge|counter))$/.exec(line);
    if (head !== null) {
      known.add(head[1] ?? '');
      continue;
    }
    const sample = /^(([a-z_]+)(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (\d+(?:\.\d+)?)$/.exec(line);
    if (sample === null) {
      throw new Error(`no sample: ${line}`);
    }
    expect(known).toContain(sample[2]);
    samples.set(sample[1] ?? '', Number(sample[3]));
  }
  return samples;
}

describe('the metrics', () => {
  it('count unfinished jobs by endpoint and status, and recent submits', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await submitted(call, { endpoint: 'frail-1' });
    await submitted(call, { endpoint: 'frail-1' });
    await until(async () => {
      const samples = await scraped();
      expect(samples.get('comfy_edge_jobs{endpoint="frail-1",status="queued"}')).toBe(2);
      expect(samples.get('comfy_edge_jobs_submitted_recently{status="queued"}')).toBeGreaterThanOrEqual(2);
      expect(samples.get('comfy_edge_submit_seconds{quantile="0.99"}')).toBeGreaterThanOrEqual(0);
    });
    expect((await scraped()).get('comfy_edge_jobs_stuck')).toBe(0);
  });

  it('report the times to store and to start recent jobs', async () => {
    fakeRunpod();
    const clock = frozenClock();
    // By then no job of another test counts.
    clock.pass(600_000);
    const now = Date.now();
    const put = env.DB.prepare(
      `INSERT INTO jobs (id, account, endpoint, status, created_at, started_at, deadline, metadata, version, submit_ms)
       VALUES (?, 'b', 'default', 'running', ?, ?, ?, '{}', 1, ?)`,
    );
    const idAt = (at: number, index: number) => {
      const hex = at.toString(16).padStart(12, '0');
      return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${String(index).padStart(12, '0')}`;
    };
    const row = (at: number, index: number, took_ms: number | null) =>
      put.bind(idAt(at, index), at, took_ms === null ? null : at + took_ms, now + 60_000, took_ms);
    await env.DB.batch([
      ...Array.from({ length: 100 }, (_, index) => row(now - 1_000, index, (index + 1) * 100)),
      row(now - 1_000, 100, null),
      row(now - 301_000, 101, 900_000),
    ]);
    const samples = await scraped();
    expect(samples.get('comfy_edge_time_to_start_seconds{quantile="0.5"}')).toBe(5);
    expect(samples.get('comfy_edge_time_to_start_seconds{quantile="0.99"}')).toBe(9.9);
    expect(samples.get('comfy_edge_submit_seconds{quantile="0.5"}')).toBe(5);
    expect(samples.get('comfy_edge_submit_seconds{quantile="0.99"}')).toBe(9.9);
    await env.DB.prepare("DELETE FROM jobs WHERE account = 'b'").run();
  });

  it('report jobs that waited too long and jobs past their deadline', async () => {
    fakeRunpod();
    const now = Date.now();
    const put = env.DB.prepare(
      `INSERT INTO jobs (id, account, endpoint, status, created_at, deadline, metadata, version)
       VALUES (?, 'a', 'default', 'queued', ?, ?, '{}', 1)`,
    );
    const before = await scraped();
    await env.DB.batch([
      put.bind('stuck', now - 601_000, now + 60_000),
      put.bind('waits', now - 599_000, now + 60_000),
      put.bind('overdue', now - 1_000, now - 301_000),
    ]);
    const after = await scraped();
    const more = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    expect([more('comfy_edge_jobs_stuck'), more('comfy_edge_jobs_overdue')]).toEqual([1, 1]);
    await env.DB.prepare("DELETE FROM jobs WHERE account = 'a'").run();
  });

  it('report breaker, queue, workers and calls of each endpoint', async () => {
    const runpod = fakeRunpod();
    laterClock();
    runpod.answer.health = () => runpodHealth({ running: 2 }, 5);
    for (const job of ['x', 'y', 'z']) {
      await env.ENDPOINT.getByName('frail-2').acquire(job);
      await env.ENDPOINT.getByName('frail-2').reportOutcome(job, 'failed', null);
    }
    await env.ENDPOINT.getByName('frail-2').acquire('w');
    const samples = await scraped();
    const of = (name: string, labels = '') => samples.get(`comfy_edge_${name}{endpoint="frail-2"${labels}}`);
    expect({
      breaker: of('breaker_state'),
      held: of('endpoint_held'),
      queued: of('runpod_queued'),
      workers: of('runpod_workers', ',state="running"'),
      runs: of('runs_total'),
      failed: of('run_errors_total', ',kind="failed"'),
      refused: of('run_errors_total', ',kind="refused"'),
      reachable: of('endpoint_reachable'),
    }).toEqual({ breaker: 2, held: 1, queued: 5, workers: 2, runs: 3, failed: 3, refused: 0, reachable: 1 });
  });

  it('report failing webhooks until they succeed', async () => {
    const { answer } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    answer(hook.url, always(500));
    await hook.tried(await hook.ping(), 1);
    await until(async () => expect((await scraped()).get('comfy_edge_webhooks_failing')).toBe(1));
    clock.pass(90_000);
    const lag = (await scraped()).get('comfy_edge_webhook_lag_seconds');
    expect(lag).toBeGreaterThanOrEqual(90);
    answer(hook.url, always(204));
    await hook.tried(await hook.ping(), 1);
    await until(async () => expect((await scraped()).get('comfy_edge_webhooks_failing')).toBe(0));
    expect((await scraped()).get('comfy_edge_webhook_lag_seconds')).toBe(0);
  });

  it('leave out unknown values of RunPod, and report that', async () => {
    const runpod = fakeRunpod();
    laterClock();
    runpod.answer.health = () => new Response('', { status: 500 });
    const samples = await scraped();
    expect(samples.get('comfy_edge_endpoint_reachable{endpoint="frail-3"}')).toBe(0);
    expect(samples.has('comfy_edge_runpod_queued{endpoint="frail-3"}')).toBe(false);
  });

  it('are for the operator only', async () => {
    fakeRunpod();
    const { account } = await newClient();
    const admin = await madeKey(account, { scopes: ['admin'] });
    expect(await problemOf(await admin.call('/v1/metrics'))).toMatchObject({ code: 'insufficient_scope' });
  });
});
