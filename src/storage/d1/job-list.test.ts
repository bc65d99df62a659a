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
 * An account whose jobs are made one per hour; every job differs from the one before in all that a list can ask for.
 */
function maker() {
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

/** Every kind of filter, and which of jobs 0, 1, 2 … fit it. */
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

describe.each(CASES)('a list narrowed to %s', (_name, narrowed, fits) => {
  it('pages through every job that fits, once, newest first, though jobs are made while it is read', async () => {
    const { account, make } = maker();
    const made: string[] = [];
    for (let at = 0; at < JOBS; at += 1) {
      made.push(await make());
    }
    const expected = made.filter((_, at) => fits(at)).toReversed();
    const seen: string[] = [];
    for (let before: string | null = null; ;) {
      const page: { id: string }[] = await listJobs(env.DB, account, narrowed, { limit: 3, before });
      seen.push(...page.map(({ id }) => id));
      const last = page.at(-1);
      if (last === undefined) {
        break;
      }
      before = last.id;
      // Newer ones, some of which fit too.
      await make();
      await make({ ...(await aTwinOf(account, last.id)) });
    }
    expect(seen).toEqual(expected);
  });

  it('reads one index and sorts nothing', async () => {
    for (const before of [null, '01900000-0000-7000-8000-000000000000']) {
      const plan = await planOf(listQuery('a', narrowed, { limit: 21, before }));
      expect(plan).toMatch(/USING (COVERING )?INDEX jobs_by_account|USING PRIMARY KEY \(account=/);
      expect(plan).not.toMatch(/TEMP B-TREE|SCAN (?!json)/);
    }
  });
});

/** All that a filter looks at in a job, for a newer one that fits the same filters. */
async function aTwinOf(account: string, id: string): Promise<Partial<JobView>> {
  const row = await env.DB.prepare('SELECT status, endpoint, key, metadata FROM jobs WHERE account = ? AND id = ?')
    .bind(account, id)
    .first<{ status: Status; endpoint: string; key: string; metadata: string }>();
  if (row === null) {
    throw new Error('the job is in the list');
  }
  return { ...row, metadata: JSON.parse(row.metadata) };
}

async function planOf({ sql, values }: { sql: string; values: unknown[] }): Promise<string> {
  const { results } = await env.DB.prepare(`EXPLAIN QUERY PLAN ${sql}`)
    .bind(...values)
    .all<{ detail: string }>();
  return results.map(({ detail }) => detail).join('; ');
}

describe('the list of jobs', () => {
  it('shows no other account’s, whatever it is narrowed to', async () => {
    const { make } = maker();
    await make();
    const { account } = maker();
    for (const [, narrowed] of CASES) {
      expect(await listJobs(env.DB, account, narrowed, { limit: 100, before: null })).toEqual([]);
    }
  });

  it('finds a job by its time though its id is as old as its idempotency key, or a little newer', async () => {
    const { account } = maker();
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
    const { account, make } = maker();
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

describe('what each job used', () => {
  it.each([null, 'job'])('is read along one index (after %s)', async (after) => {
    const plan = await planOf(usageQuery('a', { from: 0, to: 9, after, limit: 10 }));
    expect(plan).toContain('INDEX usage_by_account_job (account=? AND ');
    expect(plan).not.toMatch(/TEMP B-TREE|SCAN (?!CONSTANT)/);
  });
});
