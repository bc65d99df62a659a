import { resolve } from 'node:path';
import { test } from 'vitest';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { valueOf } from '../../local/stack/outcome.ts';
import { SUITES } from './suites.ts';

const root = resolve(import.meta.dirname, '..', '..');

/** Most of a short round is starting the measured program, at most the whole platform. */
const LIMIT_MS = 180_000;

test.for(Object.entries(SUITES))(
  'the benchmark "%s" completes a short round',
  { timeout: LIMIT_MS },
  async (entry, context) => {
    const [, suite] = entry;
    const { signal, expect } = context;
    const { python } = valueOf(await ensureEnvironment({ root, signal, report: () => undefined }));
    const printed: string[] = [];
    await suite({ root, python, signal, short: true, report: (text) => printed.push(text) });
    const text = printed.join('\n');
    expect(text).toMatch(/\d\.\d/);
    expect(text).not.toMatch(/NaN|Infinity|undefined|WRONG/);
  },
);
