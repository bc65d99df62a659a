import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS, JOB_ERRORS } from '../../src/contract/errors.ts';
import { GENERATED, withPart } from './generated.ts';

const root = resolve(import.meta.dirname, '../..');

describe.each(GENERATED)('$page, $part', ({ page, part, text }) => {
  it('is current; `npm run docs` writes it', () => {
    const written = readFileSync(join(root, page), 'utf8');
    expect(written).toBe(withPart(written, part, text()));
  });
});

describe('the tables of errors', () => {
  it.each(Object.entries(ERRORS))('write the texts of %s as sentences and its title without a full stop', (_, row) => {
    expect(row.title).toMatch(/^[A-Z].*[^.]$/);
    expect(row.text).toMatch(/^[A-Z`].*\.$/);
  });

  it.each(Object.entries(JOB_ERRORS))('write the text of the job error %s as sentences', (_, row) => {
    expect(row.text).toMatch(/^[A-Z`].*\.$/);
  });
});
