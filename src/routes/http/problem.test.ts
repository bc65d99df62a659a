import { describe, expect, it } from 'vitest';
import errorsPage from '../../../docs/reference/errors.md?raw';
import { JOB_ERROR_CODES } from '../../contract/job.ts';
import { PROBLEMS } from './problem.ts';

/** A code can be in both lists: what a request is refused for, a worker may find as well. */
const [requests = '', jobs = ''] = errorsPage.split('\n## Jobs\n');
const codesOf = (page: string) =>
  new Map([...page.matchAll(/^\| `([a-z_0-9]+)` \| ([^|]+?) \|/gm)].map(([, code = '', next = '']) => [code, next]));

describe('docs/reference/errors.md', () => {
  it('has every code of a request with its status, and no other', () => {
    const statuses = Object.entries(PROBLEMS).map(([code, { status }]): [string, string] => [code, String(status)]);
    expect(codesOf(requests)).toEqual(new Map(statuses));
  });

  it('has every code of a job, and no other', () => {
    expect([...codesOf(jobs).keys()].sort()).toEqual([...JOB_ERROR_CODES].sort());
  });
});
