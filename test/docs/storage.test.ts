import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/reference/storage.md'), 'utf8');

/** The SQL of the gateway, in D1 and in its Durable Objects. */
const sql = execFileSync('git', ['ls-files', 'migrations', 'src/durable-objects'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.endsWith('.test.ts'))
  .map((file) => readFileSync(join(root, file), 'utf8'))
  .join('\n');
const dropped = new Set([...sql.matchAll(/DROP TABLE (\w+)/g)].map(([, table = '']) => table));
const tables = [...sql.matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g)]
  .map(([, table = '']) => table)
  .filter((table) => !dropped.has(table));

it('docs/reference/storage.md names every table', () => {
  expect(tables.length).toBeGreaterThan(20);
  expect([...new Set(tables)].filter((table) => !page.includes(`\`${table}\``))).toEqual([]);
});
