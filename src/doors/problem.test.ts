import { describe, expect, it } from 'vitest';
import errorsPage from '../../docs/errors.md?raw';
import { JOB_ERROR_CODES } from '../contract/job.ts';
import { PROBLEMS } from './problem.ts';

/** Codes that only workers meet are on the page of their contract. */
const listed = new Map(
  [...errorsPage.matchAll(/^\| `([a-z_0-9]+)` \| (\S+) \|/gm)].map(([, code, next]) => [code, next]),
);

describe('docs/errors.md', () => {
  it('has every code of a request with its status', () => {
    for (const [code, { status }] of Object.entries(PROBLEMS)) {
      expect({ code, status: listed.get(code) }).toEqual({
        code,
        status: String(status),
      });
    }
  });

  it('has every code of a job', () => {
    for (const code of JOB_ERROR_CODES) {
      expect(listed.has(code)).toBe(true);
    }
  });

  it('has no code that does not exist', () => {
    const known = new Set<string>([...Object.keys(PROBLEMS), ...JOB_ERROR_CODES]);
    expect([...listed.keys()].filter((code) => code === undefined || !known.has(code))).toEqual([]);
  });
});
