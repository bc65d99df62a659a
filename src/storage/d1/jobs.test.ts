import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { JobView, Status } from '../../contract/job.ts';
import { uuidV7 } from '../../providers/ids.ts';
import { forgetJob, listJobs, projectJob, unfinishedJobs } from './jobs.ts';

const newId = uuidV7(() => 1_700_000_000_000);

const view = (given: Partial<JobView> & { account: string }): JobView => ({
  id: newId(),
  endpoint: 'default',
  status: 'queued',
  stage: 'admission',
  created_at: 1,
  started_at: null,
  completed_at: null,
  deadline: 1000,
  expires_at: 2000,
  progress: null,
  outputs: [],
  error: null,
  attempts: [],
  key: 'key-1',
  start_deadline: null,
  queue_position: null,
  resolved: { seeds: [], overrides: [], clamped: [] },
  metadata: {},
  usage: null,
  metrics: { queue_ms: null, cold_start_ms: null, execution_ms: null, upload_ms: null, total_ms: null },
  last_event: 1,
  ...given,
});

const newAccount = (): string => `d${crypto.randomUUID()}`;
const all = (account: string) => listJobs(env.DB, account, { limit: 100, before: null, status: null });

describe('the projection of a job', () => {
  it('keeps the newest view, in whatever order views arrive', async () => {
    const account = newAccount();
    const id = newId();
    const error = {
      code: 'internal' as const,
      message: 'm',
      at: 'gateway' as const,
      retryable: true,
      attempt: 1,
      details: { deep: [1, { two: null }] },
    };
    const views = [
      view({ account, id, status: 'queued', last_event: 1, metadata: { ключ: 'значение', "'": '"; DROP TABLE jobs' } }),
      view({ account, id, status: 'running', last_event: 5, started_at: 10 }),
      view({ account, id, status: 'failed', last_event: 9, started_at: 10, completed_at: 20, error }),
    ];
    for (const [first, ...rest] of [views, views.toReversed()]) {
      await forgetJob(env.DB, id);
      for (const each of [first, ...rest]) {
        if (each !== undefined) {
          await projectJob(env.DB, { ...each, metadata: views[0]?.metadata ?? {} });
        }
      }
      expect(await all(account)).toEqual([
        {
          id,
          endpoint: 'default',
          status: 'failed',
          created_at: 1,
          started_at: 10,
          completed_at: 20,
          error,
          metadata: views[0]?.metadata,
        },
      ]);
    }
  });

  it('is forgotten with the job', async () => {
    const account = newAccount();
    const job = view({ account });
    await projectJob(env.DB, job);
    await forgetJob(env.DB, job.id);
    await forgetJob(env.DB, job.id);
    expect(await all(account)).toEqual([]);
  });
});

describe('the list of jobs', () => {
  it('reads no more than it answers: account and status are answered from an index', async () => {
    for (const condition of ['account = ?1', "account = ?1 AND id < 'x'", "account = ?1 AND status = 'queued'"]) {
      const { results } = await env.DB.prepare(
        `EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE ${condition} ORDER BY id DESC LIMIT 20`,
      )
        .bind(...(condition.includes('?1') ? ['a'] : []))
        .all<{ detail: string }>();
      const plan = results.map(({ detail }) => detail).join('; ');
      expect(plan).toMatch(/USING (COVERING )?INDEX jobs_by_account/);
      expect(plan).not.toMatch(/TEMP B-TREE|SCAN/);
    }
  });
});

describe('the sweeper', () => {
  it('finds the jobs that should be over, the longest overdue first', async () => {
    const account = newAccount();
    const made = async (status: Status, deadline: number) => {
      const job = view({ account, status, deadline });
      await projectJob(env.DB, job);
      return job.id;
    };
    const late = await made('running', 500);
    const later = await made('queued', 400);
    const canceling = await made('canceling', 600);
    await made('running', 5000);
    for (const status of ['succeeded', 'failed', 'canceled', 'expired'] as const) {
      await made(status, 300);
    }
    expect(await unfinishedJobs(env.DB, { before: 1000, limit: 10 })).toEqual([later, late, canceling]);
    expect(await unfinishedJobs(env.DB, { before: 1000, limit: 1 })).toEqual([later]);
    expect(await unfinishedJobs(env.DB, { before: 400, limit: 10 })).toEqual([]);
  });
});
