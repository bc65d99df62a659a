import { beforeAll, describe, expect, it, vi } from 'vitest';
import { newClient, problemOf, submitted, type Call } from '../../../testing/gateway.ts';
import { until } from '../../../testing/job.ts';
import { madeKey } from '../../../testing/keys.ts';
import { jobPageSchema, type ApiJob } from '../schemas.ts';

/**
 * `GET /v1/jobs` narrowed, over HTTP. That each filter pages without gap or repetition is shown in
 * storage/d1/job-list.test.ts.
 */

let call: Call;
let keyId: string;
let mine: ApiJob;
let canceled: ApiJob;
let byOtherKey: ApiJob;

const pageOf = async (query: string) => {
  const answer = await call(`/v1/jobs${query}`);
  expect(answer.status).toBe(200);
  return jobPageSchema.parse(await answer.json());
};
const idsOf = async (query: string): Promise<string[]> => (await pageOf(query)).data.map(({ id }) => id);

beforeAll(async () => {
  const client = await newClient();
  call = client.call;
  const other = await madeKey(client.account);
  keyId = other.id;
  const mocked = vi
    .spyOn(globalThis, 'fetch')
    .mockImplementation(() => Promise.resolve(Response.json({ id: crypto.randomUUID() })));
  mine = await submitted(call, { metadata: { order: '7', 'a b&c=d': 'é+,%' } });
  canceled = await submitted(call, { metadata: { order: '7' } });
  await (await call(canceled.urls.cancel, { method: 'POST' })).text();
  byOtherKey = await submitted(other.call, { metadata: { order: '8' } });
  // The list follows the jobs.
  await until(async () => {
    if ((await idsOf('')).length < 3 || (await idsOf('?status=canceled')).length < 1) {
      throw new Error('not all of them are listed yet');
    }
  });
  mocked.mockRestore();
});

describe('a list of jobs', () => {
  it.each([
    ['status=queued', () => [byOtherKey, mine]],
    ['status=canceled,queued', () => [byOtherKey, canceled, mine]],
    ['status=canceled&status=queued', () => [byOtherKey, canceled, mine]],
    ['status=failed', () => []],
    ['endpoint=default', () => [byOtherKey, canceled, mine]],
    ['endpoint=another', () => []],
    ['metadata.order=7', () => [canceled, mine]],
    ['metadata.order=7&metadata.a%20b%26c%3Dd=%C3%A9%2B%2C%25', () => [mine]],
    ['metadata.order=7&metadata.order=8', () => []],
    ['metadata.order=', () => []],
    ['metadata.order=7&status=canceled', () => [canceled]],
    ['metadata.__proto__=7', () => []],
    ['metadata.%00=7', () => []],
  ])('filters by %s', async (query, expected: () => ApiJob[]) => {
    expect(await idsOf(`?${query}`)).toEqual(expected().map(({ id }) => id));
  });

  it('filters by key and by time', async () => {
    expect(await idsOf(`?key=${keyId}`)).toEqual([byOtherKey.id]);
    const at = (job: ApiJob) => encodeURIComponent(job.created_at);
    const later = encodeURIComponent('2999-01-01T00:00:00+02:00');
    expect(await idsOf(`?created_after=${at(mine)}&created_before=${later}`)).toContain(mine.id);
    expect(await idsOf(`?created_before=${at(mine)}`)).not.toContain(mine.id);
    expect(await idsOf(`?created_after=${later}`)).toEqual([]);
  });

  it('applies a filter to a later page when the filter is sent again with the cursor', async () => {
    const first = await pageOf('?metadata.order=7&limit=1');
    expect(first).toMatchObject({ has_more: true, data: [{ id: canceled.id }] });
    const second = await pageOf(`?metadata.order=7&limit=1&cursor=${first.next_cursor}`);
    expect(second).toMatchObject({ has_more: false, next_cursor: null, data: [{ id: mine.id }] });
  });

  it('accepts four metadata filters with the longest values', async () => {
    const pairs = Array.from({ length: 4 }, (_, at) => `metadata.${'k'.repeat(63)}${at}=${'v'.repeat(512)}`);
    expect(await idsOf(`?${pairs.join('&')}`)).toEqual([]);
  });

  it.each([
    'status=done',
    'status=',
    'status=queued,',
    'status=queued&status=done',
    'key=k1',
    'endpoint=',
    `endpoint=${'e'.repeat(64)}`,
    'created_after=yesterday',
    'created_after=2026-02-30T00:00:00Z',
    'created_after=2026-01-01T00:00:00',
    'created_before=0',
    'created_before=2026-01-01T00:00:00Z&created_before=2026-01-02T00:00:00Z',
    'metadata.=x',
    `metadata.${'k'.repeat(65)}=x`,
    `metadata.k=${'v'.repeat(513)}`,
    Array.from({ length: 5 }, (_, at) => `metadata.k${at}=x`).join('&'),
  ])('is refused for %s', async (query) => {
    expect(await problemOf(await call(`/v1/jobs?${query}`))).toMatchObject({ status: 400, code: 'invalid_parameter' });
  });
});
