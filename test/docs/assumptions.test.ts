import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** `reference/runpod.md 2.1`, `reference/http-api.md section 7`, also over the end of a comment's line. */
const CITED = /(?<![\w.]\/|")reference\/([a-z0-9-]+\.md)(?:(?:\s|\*|#|\/)+(?:sections? )?(\d+(?:\.\d+)?))?/g;

/** Sections of `docs/reference/assumptions.md`, by page. */
function known(): Map<string, Set<string>> {
  const pages = new Map<string, Set<string>>();
  let page = new Set<string>();
  for (const line of readFileSync(join(root, 'docs/reference/assumptions.md'), 'utf8').split('\n')) {
    const heading = /^## (\S+\.md)$/.exec(line)?.[1];
    if (heading !== undefined) {
      page = new Set();
      pages.set(heading, page);
    }
    const row = /^\| (\d+(?:\.\d+)?) \|/.exec(line)?.[1];
    if (row !== undefined) {
      page.add(row);
    }
  }
  return pages;
}

test('docs/reference/assumptions.md has a row for every fact that a comment cites', () => {
  const files = execFileSync('git', ['ls-files', '--', 'src', 'worker-gpu', 'local', 'test', 'docs/decisions'], {
    cwd: root,
    encoding: 'utf8',
  });
  const sections = known();
  const cited = files
    .split('\n')
    .filter((file) => /\.(ts|py|md|sh)$|Dockerfile$/.test(file))
    .flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(CITED)].map(([, page = '', section]) => ({
        file,
        page,
        section,
      })),
    );
  expect(cited.length).toBeGreaterThan(50);
  const lacking = cited.filter(({ page, section }) => {
    const rows = sections.get(page);
    return rows === undefined || (section !== undefined && !rows.has(section));
  });
  expect(lacking).toEqual([]);
});
