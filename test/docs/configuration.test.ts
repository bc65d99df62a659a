import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { CONFIG_NAMES } from '../../src/config/names.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/reference/configuration.md'), 'utf8');

it('docs/reference/configuration.md has a row for every variable and secret', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  expect(CONFIG_NAMES.filter((name) => !rows.some((row) => row.split(' | ')[0]?.includes(`\`${name}\``)))).toEqual([]);
});

it('docs/reference/configuration.md has a row for every binding of wrangler.jsonc', () => {
  const wrangler = readFileSync(join(root, 'wrangler.jsonc'), 'utf8');
  const bindings = [...wrangler.matchAll(/"(?:binding|name)": "([A-Z_]+)"/g)].map(([, name = '']) => name);
  expect(bindings.length).toBeGreaterThan(5);
  expect(bindings.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});
