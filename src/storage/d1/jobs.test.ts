import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { Status } from '../../contract/job.ts';
import { newId, viewOfJob as view } from '../../testing/projection.ts';
import { NO_FILTERS } from './job-list.ts';
import { deleteJob, listJobs, projectionOf, projectJob, unfinishedJobs } from './jobs.ts';
import { listUsage } from './usage.ts';

const newAccount = (): string => `d${crypto.randomUUID()}`;
const all = (account: string) => listJobs(env.DB, account, NO_FILTERS, { limit: 100, before: null });

describe('the projection of a job', () => {
  it('keeps the newest view for every order of arrival', async () => {
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
      await deleteJob(env.DB, id);
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

  it('writes ten rows over the life of a job, including indexes and usage', async () => {
    const job = view({ account: newAccount() });
    const over = { ...job, status: 'succeeded', started_at: 10, completed_at: 20, last_event: 9 } as const;
    const used = { ...over, gpu_ms: 1, micro_usd: 2, price_per_second: 1 };
    const rows: number[] = [];
    for (const statements of [
      projectionOf(env.DB, job),
      projectionOf(env.DB, { ...job, status: 'running', started_at: 10, last_event: 5 }),
      projectionOf(env.DB, over, used),
      projectionOf(env.DB, over, used),
    ]) {
      const answers = await env.DB.batch(statements);
      rows.push(answers.reduce((sum, { meta }) => sum + meta.rows_written, 0));
    }
    expect(rows).toEqual([5, 1, 4, 0]);
  });

  it('is deleted with the job and its metadata', async () => {
    const account = newAccount();
    const [job, other] = [1, 2].map(() => view({ account, metadata: { 'a"b.c': "it's", order: '7' } }));
    if (job === undefined || other === undefined) {
      throw new Error('Two jobs were expected.');
    }
    const pairs = () =>
      env.DB.prepare('SELECT DISTINCT job FROM job_metadata WHERE account = ? ORDER BY job').bind(account).all();
    await projectJob(env.DB, job);
    await projectJob(env.DB, other);
    await projectJob(env.DB, { ...job, last_event: 2 });
    expect((await pairs()).results).toEqual([{ job: job.id }, { job: other.id }]);
    await deleteJob(env.DB, job.id);
    await deleteJob(env.DB, job.id);
    expect((await all(account)).map(({ id }) => id)).toEqual([other.id]);
    expect((await pairs()).results).toEqual([{ job: other.id }]);
  });

  it('keeps the usage of a job, and its metadata unless a client erased the job', async () => {
    const account = newAccount();
    for (const erased of [false, true]) {
      const job = view({ account, status: 'succeeded', completed_at: 5, metadata: { order: '7' } });
      const used = { gpu_ms: 1, micro_usd: 2, price_per_second: 1, completed_at: 5 };
      await projectJob(env.DB, job, { ...job, ...used });
      await deleteJob(env.DB, job.id, erased);
      const [line] = (await listUsage(env.DB, account, { from: 0, to: 9, after: null, limit: 9 })).slice(-1);
      expect(line).toMatchObject({ job: job.id, gpu_ms: 1, metadata: erased ? {} : { order: '7' } });
    }
  });
});

describe('unfinishedJobs', () => {
  it('returns unfinished jobs after their deadline, the most overdue first', async () => {
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
