import { expect } from 'vitest';
import { batchSchema, type ApiBatchItem, type ApiJob } from '../routes/v1/schemas.ts';
import { postJson, type Call } from './gateway.ts';

/** Submits a batch without changing it. */
export const postBatch = (call: Call, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  call('/v1/jobs/batch', { ...postJson(body), headers: { 'content-type': 'application/json', ...headers } });

/** Submits a batch, expects 200, and returns the result of each job. */
export async function batchOf(
  call: Call,
  jobs: unknown[],
  headers: Record<string, string> = {},
): Promise<ApiBatchItem[]> {
  const answer = await postBatch(call, { jobs }, headers);
  expect(answer.status).toBe(200);
  const { data, accepted, refused } = batchSchema.parse(await answer.json());
  expect(data).toHaveLength(jobs.length);
  expect([accepted, refused]).toEqual([acceptedJobs(data).length, jobs.length - acceptedJobs(data).length]);
  return data;
}

/** The accepted jobs, in their order. */
export const acceptedJobs = (items: readonly ApiBatchItem[]): ApiJob[] =>
  items.flatMap((item) => ('job' in item ? [item.job] : []));

/** Status of each accepted job, and problem code of each refused one. */
export const outcomes = (items: readonly ApiBatchItem[]): (string | number)[] =>
  items.map((item) => ('job' in item ? item.status : item.problem.code));
