import { expect } from 'vitest';
import { batchSchema, type ApiBatchItem, type ApiJob } from '../routes/v1/schemas.ts';
import { postJson, type Call } from './gateway.ts';

/** Submits a batch as it is given. */
export const postBatch = (call: Call, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  call('/v1/jobs/batch', { ...postJson(body), headers: { 'content-type': 'application/json', ...headers } });

/** Submits a batch that must be taken as a request, and gives what became of each job. */
export async function batchOf(
  call: Call,
  jobs: unknown[],
  headers: Record<string, string> = {},
): Promise<ApiBatchItem[]> {
  const answer = await postBatch(call, { jobs }, headers);
  expect(answer.status).toBe(200);
  const { data, accepted, refused } = batchSchema.parse(await answer.json());
  expect(data).toHaveLength(jobs.length);
  expect([accepted, refused]).toEqual([taken(data).length, jobs.length - taken(data).length]);
  return data;
}

/** The jobs that were taken, in their order. */
export const taken = (items: readonly ApiBatchItem[]): ApiJob[] =>
  items.flatMap((item) => ('job' in item ? [item.job] : []));

/** What became of each job in a word: its status, and the code of its problem. */
export const outcomes = (items: readonly ApiBatchItem[]): (string | number)[] =>
  items.map((item) => ('job' in item ? item.status : item.problem.code));
