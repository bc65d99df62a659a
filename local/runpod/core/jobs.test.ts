import { describe, expect, it } from 'vitest';
import { RUN_RETENTION_MS, RUNSYNC_RETENTION_MS } from '../limits.ts';
import type { EndpointEvent } from './endpoint-event.ts';
import { statusView, type Submission, webhookBody, workerTicket } from './job.ts';
import { type JobRules, Jobs } from './jobs.ts';

const START = 1_000_000;

function queue(rules: Partial<JobRules> = {}) {
  const happenings: EndpointEvent[] = [];
  const jobs = new Jobs(
    {
      runRetentionMs: RUN_RETENTION_MS,
      runsyncRetentionMs: RUNSYNC_RETENTION_MS,
      onWorkerLost: { action: 'fail' },
      lateProgressReopens: false,
      ...rules,
    },
    (happening) => happenings.push(happening),
  );
  const submit = (id: string, changes: Partial<Submission> = {}, at = START) =>
    jobs.submit(
      {
        id,
        source: 'run',
        input: { prompt: id },
        webhook: null,
        executionTimeoutMs: 600_000,
        ttlMs: 86_400_000,
        lowPriority: false,
        s3Config: undefined,
        ...changes,
      },
      at,
    );
  const types = () => happenings.map((happening) => happening.type);
  return { jobs, happenings, types, submit };
}

describe('queue order', () => {
  it('is the order of submission', () => {
    const { jobs, submit } = queue();
    submit('a');
    submit('b');
    submit('c');
    expect(jobs.take('w1', 2, START).map((job) => job.id)).toEqual(['a', 'b']);
    expect(jobs.take('w2', 2, START).map((job) => job.id)).toEqual(['c']);
  });

  it('puts low priority behind all other jobs', () => {
    const { jobs, submit } = queue();
    submit('low', { lowPriority: true });
    submit('a');
    submit('low2', { lowPriority: true });
    submit('b');
    expect(jobs.take('w1', 9, START).map((job) => job.id)).toEqual(['a', 'b', 'low', 'low2']);
  });

  it('puts a job that never reached its worker back at the front', () => {
    const { jobs, submit } = queue();
    const a = submit('a', {}, START);
    submit('b');
    jobs.take('w1', 1, START + 500);
    jobs.requeueUndelivered('a', 'w1');
    expect(a).toMatchObject({ status: 'IN_QUEUE', worker: null, startedAt: null, queuedAt: START, retries: 0 });
    expect(jobs.take('w2', 1, START + 900).map((job) => job.id)).toEqual(['a']);
  });

  it('does not requeue a job that another worker has', () => {
    const { jobs, submit } = queue();
    submit('a');
    jobs.take('w2', 1, START);
    jobs.requeueUndelivered('a', 'w1');
    expect(jobs.get('a')).toMatchObject({ status: 'IN_PROGRESS', worker: 'w2' });
  });
});

describe('the status of a job', () => {
  it('has the delay once it runs and the execution time at the end', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    expect(statusView(job)).toEqual({ id: 'a', status: 'IN_QUEUE' });
    jobs.take('w1', 1, START + 700);
    expect(statusView(job)).toEqual({ id: 'a', status: 'IN_PROGRESS', delayTime: 700, workerId: 'w1' });
    jobs.finish('a', 'w1', { output: [1] }, START + 3000);
    expect(statusView(job)).toEqual({
      id: 'a',
      status: 'COMPLETED',
      output: [1],
      delayTime: 700,
      executionTime: 2300,
      workerId: 'w1',
    });
  });

  it('is COMPLETED without output when the worker posted no output', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', {}, START);
    expect(job.status).toBe('COMPLETED');
    expect(statusView(job)).not.toHaveProperty('output');
  });

  it('is FAILED with the error and the rest of the output', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { error: 'no', output: { detail: 7 } }, START);
    expect(statusView(job)).toMatchObject({ status: 'FAILED', error: 'no', output: { detail: 7 } });
  });

  it('shows progress as output until the result', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.progress('a', 'w1', { step: 1 });
    expect(statusView(job)).toMatchObject({ status: 'IN_PROGRESS', output: { step: 1 } });
    jobs.finish('a', 'w1', {}, START);
    expect(statusView(job)).not.toHaveProperty('output');
  });

  it('returns each streamed chunk once', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.chunk('a', 'w1', [1, 2]);
    expect(jobs.drainChunks(job)).toEqual([1, 2]);
    jobs.chunk('a', 'w1', [3]);
    expect(jobs.drainChunks(job)).toEqual([3]);
    expect(jobs.drainChunks(job)).toEqual([]);
  });

  it('repeats input and webhook in the webhook body', () => {
    const { submit } = queue();
    const job = submit('a', { webhook: 'http://h/hook' });
    expect(webhookBody(job)).toEqual({
      id: 'a',
      status: 'IN_QUEUE',
      input: { prompt: 'a' },
      webhook: 'http://h/hook',
    });
  });

  it('passes s3Config through to the worker', () => {
    const { submit } = queue();
    expect(workerTicket(submit('a', { s3Config: { bucketName: 'b' } }))).toEqual({
      id: 'a',
      input: { prompt: 'a' },
      s3Config: { bucketName: 'b' },
    });
  });
});

describe('a report without effect', () => {
  it.each([
    ['of a worker that does not have the job', 'w2', "not this worker's job"],
    ['of a worker that has already reported', 'w1', 'job is over'],
  ])('is a result %s', (_, worker, reason) => {
    const { jobs, submit, happenings } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { output: 'first' }, START);
    expect(jobs.finish('a', worker, { output: 'second' }, START)).toBe(false);
    expect(job.result).toEqual({ output: 'first' });
    expect(happenings.at(-1)).toEqual({ type: 'report_ignored', job: 'a', worker, reason });
  });

  it('is one about an unknown job', () => {
    const { jobs, happenings } = queue();
    expect(jobs.finish('nobody', 'w1', {}, START)).toBe(false);
    jobs.progress('nobody', 'w1', 1);
    jobs.chunk('nobody', 'w1', [1]);
    expect(happenings).toEqual(
      Array.from({ length: 3 }, () => ({
        type: 'report_ignored',
        job: 'nobody',
        worker: 'w1',
        reason: 'unknown job',
      })),
    );
  });

  it('is progress after the end', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { output: 'end' }, START);
    jobs.progress('a', 'w1', 'late');
    expect(statusView(job)).toMatchObject({ status: 'COMPLETED', output: 'end' });
  });

  it('reopens the job with late progress only when the option of runpod-python#250 is set', () => {
    const { jobs, submit } = queue({ lateProgressReopens: true });
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { output: 'end' }, START);
    jobs.progress('a', 'w1', 'late');
    expect(statusView(job)).toMatchObject({ status: 'IN_PROGRESS', output: 'late' });
  });
});

describe('canceling and purging', () => {
  it('removes a queued job without a job-stop', () => {
    const { jobs, submit, types } = queue();
    const job = submit('a');
    jobs.cancel(job, START + 10);
    expect(job.status).toBe('CANCELLED');
    expect(jobs.queued()).toEqual([]);
    expect(types()).toEqual(['job_queued', 'job_finished']);
  });

  it('stops a running job on its worker and ignores its late result', () => {
    const { jobs, submit, happenings } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.cancel(job, START + 10);
    expect(happenings).toContainEqual({ type: 'job_stop_wanted', job: 'a', worker: 'w1' });
    jobs.finish('a', 'w1', { output: 'late' }, START + 20);
    expect(job.status).toBe('CANCELLED');
  });

  it('does not change a finished job', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { output: 1 }, START);
    jobs.cancel(job, START);
    expect(job.status).toBe('COMPLETED');
  });

  it('purges queued jobs and keeps running ones', () => {
    const { jobs, submit } = queue();
    const running = submit('a');
    jobs.take('w1', 1, START);
    const waiting = [submit('b'), submit('c')];
    expect(jobs.purge(START)).toBe(2);
    expect(waiting.map((job) => job.status)).toEqual(['CANCELLED', 'CANCELLED']);
    expect(running.status).toBe('IN_PROGRESS');
  });
});

describe('retrying a job', () => {
  it('requeues a failed job with its id and input and without its output', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { error: 'no', output: 1 }, START);
    expect(jobs.retry(job, START + 100)).toBe(true);
    expect(statusView(job)).toEqual({ id: 'a', status: 'IN_QUEUE', retries: 1 });
    expect(jobs.take('w2', 1, START + 100)[0]).toMatchObject({ id: 'a', input: { prompt: 'a' } });
    expect(jobs.counts().retried).toBe(1);
  });

  it('requeues a timed-out job', () => {
    const { jobs, submit } = queue();
    const job = submit('a', { executionTimeoutMs: 5000 });
    jobs.take('w1', 1, START);
    jobs.expire(START + 5000);
    expect(jobs.retry(job, START + 5000)).toBe(true);
  });

  it('rejects every other status', () => {
    const { jobs, submit } = queue();
    const completed = submit('a');
    jobs.take('w1', 1, START);
    const queued = submit('b');
    expect(jobs.retry(queued, START)).toBe(false);
    expect(jobs.retry(completed, START)).toBe(false);
    jobs.finish('a', 'w1', {}, START);
    expect(jobs.retry(completed, START)).toBe(false);
    jobs.cancel(queued, START);
    expect(jobs.retry(queued, START)).toBe(false);
  });
});

describe('retention and timeouts', () => {
  it.each([
    ['run', RUN_RETENTION_MS],
    ['runsync', RUNSYNC_RETENTION_MS],
  ] as const)('keeps the result of /%s for exactly %d ms', (source, kept) => {
    const { jobs, submit, happenings } = queue();
    submit('a', { source });
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', { output: 1 }, START + 50);
    expect(jobs.nextDeadline()).toBe(START + 50 + kept);
    jobs.expire(START + 50 + kept - 1);
    expect(jobs.get('a')).not.toBeNull();
    jobs.expire(START + 50 + kept);
    expect(jobs.get('a')).toBeNull();
    expect(happenings.at(-1)).toEqual({ type: 'job_removed', job: 'a', reason: 'retention' });
  });

  it('deletes a queued job when its TTL ends', () => {
    const { jobs, submit } = queue();
    submit('a', { ttlMs: 10_000 });
    jobs.expire(START + 9_999);
    expect(jobs.queued()).toHaveLength(1);
    jobs.expire(START + 10_000);
    expect(jobs.queued()).toEqual([]);
    expect(jobs.get('a')).toBeNull();
  });

  it('deletes a running job when its TTL ends and stops it on its worker', () => {
    const { jobs, submit, happenings } = queue();
    submit('a', { ttlMs: 10_000 });
    jobs.take('w1', 1, START + 5000);
    jobs.expire(START + 10_000);
    expect(jobs.get('a')).toBeNull();
    expect(happenings.slice(-2)).toEqual([
      { type: 'job_stop_wanted', job: 'a', worker: 'w1' },
      { type: 'job_removed', job: 'a', reason: 'ttl' },
    ]);
  });

  it('counts the TTL from submission after ?ttl= changed it', () => {
    const { jobs, submit } = queue();
    const job = submit('a');
    jobs.setTtl(job, 6000);
    expect(jobs.nextDeadline()).toBe(START + 6000);
  });

  it('keeps a finished job until its retention ends, beyond its TTL', () => {
    const { jobs, submit } = queue();
    submit('a', { ttlMs: 10_000 });
    jobs.take('w1', 1, START);
    jobs.finish('a', 'w1', {}, START);
    jobs.expire(START + 10_000);
    expect(jobs.get('a')).not.toBeNull();
  });

  it('counts the execution timeout from the start of the job', () => {
    const { jobs, submit, happenings } = queue();
    const job = submit('a', { executionTimeoutMs: 5000 });
    jobs.expire(START + 60_000);
    expect(job.status).toBe('IN_QUEUE');
    jobs.take('w1', 1, START + 60_000);
    expect(jobs.nextDeadline()).toBe(START + 65_000);
    jobs.expire(START + 64_999);
    expect(job.status).toBe('IN_PROGRESS');
    jobs.expire(START + 65_000);
    expect(statusView(job)).toMatchObject({ status: 'TIMED_OUT', executionTime: 5000 });
    expect(happenings).toContainEqual({ type: 'job_stop_wanted', job: 'a', worker: 'w1' });
  });
});

describe('a lost worker', () => {
  it('fails its jobs immediately and keeps those of others', () => {
    const { jobs, submit } = queue();
    const lost = submit('a');
    jobs.take('w1', 1, START);
    const other = submit('b');
    jobs.take('w2', 1, START);
    jobs.workerLost('w1', 'process exited (SIGKILL)', START + 10);
    expect(statusView(lost)).toMatchObject({
      status: 'FAILED',
      error: 'worker w1 was lost: process exited (SIGKILL)',
    });
    expect(other.status).toBe('IN_PROGRESS');
  });

  it('moves its job to another worker `retries` times, then fails it', () => {
    const { jobs, submit } = queue({ onWorkerLost: { action: 'requeue', times: 1 } });
    const job = submit('a');
    jobs.take('w1', 1, START);
    submit('b');
    jobs.workerLost('w1', 'gone', START + 10);
    expect(jobs.take('w2', 1, START + 20).map((each) => each.id)).toEqual(['a']);
    expect(job.retries).toBe(1);
    jobs.workerLost('w2', 'gone', START + 30);
    expect(job.status).toBe('FAILED');
  });

  it('does not requeue a cancelled job', () => {
    const { jobs, submit } = queue({ onWorkerLost: { action: 'requeue', times: 1 } });
    const job = submit('a');
    jobs.take('w1', 1, START);
    jobs.cancel(job, START);
    jobs.workerLost('w1', 'gone', START + 10);
    expect(job.status).toBe('CANCELLED');
    expect(jobs.queued()).toEqual([]);
  });
});

it('the admin API deletes a job without a trace', () => {
  const { jobs, submit, happenings } = queue();
  const job = submit('a');
  jobs.take('w1', 1, START);
  jobs.forget(job);
  expect(jobs.get('a')).toBeNull();
  expect(happenings.at(-1)).toEqual({ type: 'job_removed', job: 'a', reason: 'forgotten' });
});
