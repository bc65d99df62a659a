import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { MAX_BATCH_JOBS } from '../../../services/jobs/batch.ts';
import { batchOf, outcomes, postBatch, acceptedJobs } from '../../../testing/batch.ts';
import { answerRunpod, GRAPH, newClient, PNG } from '../../../testing/gateway.ts';
import { jobPageSchema, jobSchema } from '../schemas.ts';

const item = (over: Record<string, unknown> = {}) => ({ workflow: GRAPH, ...over });
const numbered = (count: number, over: Record<string, unknown> = {}) =>
  Array.from({ length: count }, (_, at) => item({ metadata: { at: String(at) }, ...over }));

/** How often RunPod was asked to run any of these. */
const runsOf = (runs: readonly string[], jobs: readonly { id: string }[]): number =>
  runs.filter((job) => jobs.some(({ id }) => id === job)).length;

describe('a batch', () => {
  it('accepts every job like a separate submit, and answers in order', async () => {
    const { runs } = answerRunpod();
    const { call } = await newClient();
    const items = await batchOf(call, [
      item({ metadata: { at: '0' }, priority: 'high' }),
      item({ metadata: { at: '1' }, inputs: [{ name: 'a.png', data: PNG.toBase64() }] }),
      item({ metadata: { at: '2' }, start_within: 30 }),
    ]);
    expect(outcomes(items)).toEqual([201, 201, 201]);
    expect(acceptedJobs(items).map(({ metadata }) => metadata['at'])).toEqual(['0', '1', '2']);
    for (const job of acceptedJobs(items)) {
      expect(jobSchema.parse(await (await call(job.urls.self)).json()).id).toBe(job.id);
    }
    await vi.waitFor(() => expect(runsOf(runs, acceptedJobs(items))).toBe(3));
  });

  it('accepts MAX_BATCH_JOBS jobs', async () => {
    answerRunpod();
    const { call } = await newClient();
    const items = await batchOf(call, numbered(MAX_BATCH_JOBS));
    expect(new Set(acceptedJobs(items).map(({ id }) => id)).size).toBe(MAX_BATCH_JOBS);
    expect(acceptedJobs(items).map(({ metadata }) => metadata['at'])).toEqual(
      numbered(MAX_BATCH_JOBS).map((_, at) => String(at)),
    );
  });

  it('reports the quota after its last job in its headers', async () => {
    answerRunpod();
    const { call } = await newClient();
    const answer = await postBatch(call, { jobs: numbered(7) });
    expect(answer.headers.get('ratelimit')).toMatch(/^"submits";r=113;/);
  });

  it('accepts jobs up to a limit and names the limit for each refused job', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 2, max_queued: 3 });
    const items = await batchOf(call, numbered(8));
    expect(outcomes(items)).toEqual([201, 201, 201, 201, 201, 'queue_full', 'queue_full', 'queue_full']);
    expect(acceptedJobs(items).map(({ queue_position }) => queue_position)).toEqual([null, null, 1, 2, 3]);
    expect(items.at(-1)).toMatchObject({ status: 429, retry_after: 5, problem: { 'violated-policies': ['queued'] } });
  });
});

describe('an idempotency key in a batch', () => {
  it('makes each job once when the batch is sent repeatedly', async () => {
    const { runs } = answerRunpod();
    const { call } = await newClient();
    const jobs = [
      item({ idempotency_key: 'a' }),
      item({ idempotency_key: 'b' }),
      item({ idempotency_key: 'c', metadata: { n: '3' } }),
    ];
    const first = await batchOf(call, jobs);
    const again = await batchOf(call, [...jobs.toReversed(), item({ idempotency_key: 'd' })]);
    expect(acceptedJobs(again).slice(0, 3)).toEqual(acceptedJobs(first).toReversed());
    expect(again.map((each) => 'job' in each && each.replayed)).toEqual([true, true, true, false]);
    await vi.waitFor(() => expect(runsOf(runs, acceptedJobs(again))).toBe(4));
  });

  it('covers every job without its own key when the request sends it: a retry makes no job twice', async () => {
    answerRunpod();
    const { call } = await newClient();
    const headers = { 'idempotency-key': 'batch-1' };
    const jobs = [item(), item(), item({ idempotency_key: 'own' }), { workflow: {} }];
    await (await postBatch(call, { jobs }, headers)).body?.cancel();
    const again = await batchOf(call, jobs, headers);
    expect(outcomes(again)).toEqual([201, 201, 201, 'workflow_empty']);
    expect(again.slice(0, 3).map((each) => 'job' in each && each.replayed)).toEqual([true, true, true]);
    expect(new Set(acceptedJobs(again).map(({ id }) => id)).size).toBe(3);
    // The refused job did not use its key: corrected, it is accepted, and the other jobs stay the same.
    const fixed = await batchOf(call, [...jobs.slice(0, 3), item({ metadata: { fixed: 'yes' } })], headers);
    expect(fixed.map((each) => 'job' in each && each.replayed)).toEqual([true, true, true, false]);
    await vi.waitFor(async () => {
      const { data } = jobPageSchema.parse(await (await call('/v1/jobs')).json());
      expect(data).toHaveLength(4);
    });
  });

  it('used twice in a batch makes one job, or a conflict when the jobs differ', async () => {
    answerRunpod();
    const { call } = await newClient();
    const items = await batchOf(call, [
      item({ idempotency_key: 'k' }),
      item({ idempotency_key: 'k' }),
      item({ idempotency_key: 'k', metadata: { other: 'job' } }),
    ]);
    expect(outcomes(items)).toEqual([201, 201, 'idempotency_key_reuse']);
    const [first, second] = acceptedJobs(items);
    expect(second).toEqual(first);
  });
});
