import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/reference/storage.md'), 'utf8');

/** Every table that the gateway makes, in D1 and in its Durable Objects. */
const tables = execFileSync('git', ['ls-files', 'migrations', 'src/durable-objects'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.endsWith('.test.ts'))
  .flatMap((file) => [
    ...readFileSync(join(root, file), 'utf8').matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g),
  ])
  .map(([, table = '']) => table);

it('docs/reference/storage.md names every table', () => {
  expect(tables.length).toBeGreaterThan(20);
  expect([...new Set(tables)].filter((table) => !page.includes(`\`${table}\``))).toEqual([]);
});
