import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { STATUSES, type JobView, type Status } from '../../contract/job.ts';
import { systemRandom, uuidV7 } from '../../lib/ids.ts';
import { viewOfJob } from '../../testing/projection.ts';
import { listQuery, NO_FILTERS, type JobFilters } from './job-list.ts';
import { listJobs, projectJob } from './jobs.ts';
import { usageQuery } from './usage.ts';

const DAY = Date.UTC(2026, 5, 1);
const HOUR_MS = 3_600_000;

/**
 * Creates an account and its jobs, one per hour. Consecutive jobs differ in every field that a list can filter by.
 */
function jobFactory() {
  const account = `d${crypto.randomUUID()}`;
  let now = DAY;
  const newId = uuidV7(() => now, systemRandom);
  let made = 0;
  return {
    account,
    make: async (over: Partial<JobView> = {}): Promise<string> => {
      const at = made;
      made += 1;
      now = DAY + at * HOUR_MS;
      const job = viewOfJob({
        account,
        id: newId(),
        created_at: now,
        status: STATUSES[at % STATUSES.length] ?? 'queued',
        endpoint: at % 2 === 0 ? 'even' : 'odd',
        key: at % 3 === 0 ? 'key-3' : 'key-other',
        metadata: { third: String(at % 3), all: 'x', [`only-${at}`]: 'y' },
        ...over,
      });
      await projectJob(env.DB, job);
      return job.id;
    },
  };
}

const filters = (over: Partial<JobFilters>): JobFilters => ({ ...NO_FILTERS, ...over });

/** Every kind of filter, and a function that tells whether job 0, 1, 2 … matches it. */
const CASES: [string, JobFilters, (at: number) => boolean][] = [
  ['nothing', NO_FILTERS, () => true],
  ['one status', filters({ statuses: ['running'] }), (at) => at % 7 === 1],
  ['two statuses', filters({ statuses: ['queued', 'expired'] }), (at) => at % 7 === 0 || at % 7 === 6],
  ['four statuses', filters({ statuses: STATUSES.slice(0, 4) }), (at) => at % 7 < 4],
  ['five statuses', filters({ statuses: STATUSES.slice(0, 5) }), (at) => at % 7 < 5],
  ['every status', filters({ statuses: STATUSES }), () => true],
  ['an endpoint', filters({ endpoint: 'odd' }), (at) => at % 2 === 1],
  ['a key', filters({ key: 'key-3' }), (at) => at % 3 === 0],
  ['from a time on', filters({ created_after: DAY + 4 * HOUR_MS }), (at) => at >= 4],
  ['before a time', filters({ created_before: DAY + 4 * HOUR_MS }), (at) => at < 4],
  [
    'a span of time',
    filters({ created_after: DAY + 2 * HOUR_MS, created_before: DAY + 9 * HOUR_MS }),
    (at) => at >= 2 && at < 9,
  ],
  ['metadata', filters({ metadata: [['third', '1']] }), (at) => at % 3 === 1],
  [
    'metadata twice',
    filters({
      metadata: [
        ['all', 'x'],
        ['third', '2'],
      ],
    }),
    (at) => at % 3 === 2,
  ],
  [
    'everything at once',
    filters({
      statuses: ['queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled'],
      endpoint: 'even',
      key: 'key-3',
      created_after: DAY,
      created_before: DAY + 400 * HOUR_MS,
      metadata: [['third', '0']],
    }),
    (at) => at % 7 !== 6 && at % 6 === 0,
  ],
  [
    'a key, an endpoint and statuses',
    filters({ key: 'key-3', endpoint: 'even', statuses: ['queued', 'failed'] }),
    (at) => at % 6 === 0 && [0, 4].includes(at % 7),
  ],
];

const JOBS = 30;

describe.each(CASES)('a list of jobs filtered by %s', (_name, query, matches) => {
  it('returns every matching job once, newest first, while jobs are created', async () => {
    const { account, make } = jobFactory();
    const made: string[] = [];
    for (let at = 0; at < JOBS; at += 1) {
      made.push(await make());
    }
    const expected = made.filter((_, at) => matches(at)).toReversed();
    const listed: string[] = [];
    for (let before: string | null = null; ;) {
      const page: { id: string }[] = await listJobs(env.DB, account, query, { limit: 3, before });
      listed.push(...page.map(({ id }) => id));
      const last = page.at(-1);
      if (last === undefined) {
        break;
      }
      before = last.id;
      // Newer jobs, some of which match the filter too.
      await make();
      await make({ ...(await filterFieldsOf(account, last.id)) });
    }
    expect(listed).toEqual(expected);
  });

  it('reads one index without sorting', async () => {
    for (const before of [null, '01900000-0000-7000-8000-000000000000']) {
      const plan = await planOf(listQuery('a', query, { limit: 21, before }));
      expect(plan).toMatch(/USING (COVERING )?INDEX jobs_by_account|USING PRIMARY KEY \(account=/);
      expect(plan).not.toMatch(/TEMP B-TREE|SCAN (?!json)/);
    }
  });
});

/** Returns the fields of a job that filters use, for a newer job that matches the same filters. */
async function filterFieldsOf(account: string, id: string): Promise<Partial<JobView>> {
  const row = await env.DB.prepare('SELECT status, endpoint, key, metadata FROM jobs WHERE account = ? AND id = ?')
    .bind(account, id)
    .first<{ status: Status; endpoint: string; key: string; metadata: string }>();
  if (row === null) {
    throw new Error('The job does not exist.');
  }
  return { ...row, metadata: JSON.parse(row.metadata) };
}

async function planOf({ sql, values }: { sql: string; values: unknown[] }): Promise<string> {
  const { results } = await env.DB.prepare(`EXPLAIN QUERY PLAN ${sql}`)
    .bind(...values)
    .all<{ detail: string }>();
  return results.map(({ detail }) => detail).join('; ');
}

describe('listing jobs', () => {
  it('returns no job of another account for any filter', async () => {
    const { make } = jobFactory();
    await make();
    const { account } = jobFactory();
    for (const [, query] of CASES) {
      expect(await listJobs(env.DB, account, query, { limit: 100, before: null })).toEqual([]);
    }
  });

  it('finds a job by its creation time when its id has an older or newer time', async () => {
    const { account } = jobFactory();
    const at = (ms: number): string => uuidV7(() => ms)();
    const late = viewOfJob({ account, id: at(DAY - 24 * HOUR_MS), created_at: DAY });
    const early = viewOfJob({ account, id: at(DAY + 1_000), created_at: DAY });
    await projectJob(env.DB, late);
    await projectJob(env.DB, early);
    const found = await listJobs(env.DB, account, filters({ created_after: DAY, created_before: DAY + 1 }), {
      limit: 9,
      before: null,
    });
    expect(found.map(({ id }) => id)).toEqual([early.id, late.id]);
  });

  it('compares metadata byte for byte', async () => {
    const { account, make } = jobFactory();
    const id = await make({ metadata: { 'naïve "key".$[0]': 'ünï%_\\\'"' } });
    const find = async (name: string, value: string) =>
      (await listJobs(env.DB, account, filters({ metadata: [[name, value]] }), { limit: 9, before: null })).map(
        (job) => job.id,
      );
    expect(await find('naïve "key".$[0]', 'ünï%_\\\'"')).toEqual([id]);
    expect(await find('naïve "key".$[0]', 'ünï%')).toEqual([]);
    expect(await find('Naïve "key".$[0]', 'ünï%_\\\'"')).toEqual([]);
  });
});

describe('listing the usage of jobs', () => {
  it.each([null, 'job'])('reads one index (after %s)', async (after) => {
    const plan = await planOf(usageQuery('a', { from: 0, to: 9, after, limit: 10 }));
    expect(plan).toContain('INDEX usage_by_account_job (account=? AND ');
    expect(plan).not.toMatch(/TEMP B-TREE|SCAN (?!CONSTANT)/);
  });
});
