import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => /^(docs\/.*|[A-Z]+|local\/.*README|worker-gpu\/README|clients\/sdk\/README)\.md$/.test(file))
  .filter((file) => file !== 'CHANGELOG.md');

/** Longest line of prose, and longest cell of a table. Code and rows of tables may be longer lines. */
const MAX_LINE = 110;
const MAX_CELL = 120;

/** Lines of prose and rows of tables that are too long, as `page:line`. */
function tooLong(page: string): string[] {
  const found: string[] = [];
  let code = false;
  for (const [index, line] of readFileSync(join(root, page), 'utf8').split('\n').entries()) {
    if (/^\s*```/.test(line)) {
      code = !code;
      continue;
    }
    if (code || line.startsWith('    ')) {
      continue;
    }
    const cells = line.trimStart().startsWith('|') ? line.split(/(?<!\\)\|/).map((cell) => cell.trim()) : null;
    const long = cells === null ? shown(line).length > MAX_LINE : cells.some((cell) => shown(cell).length > MAX_CELL);
    if (long) {
      found.push(`${page}:${index + 1}`);
    }
  }
  return found;
}

/** The text as a reader sees it: links without their targets. */
const shown = (text: string): string => text.replace(/\]\([^)]*\)/g, ']');

describe('the documents', () => {
  it('keep lines of prose and cells of tables short enough to read', () => {
    expect(pages.length).toBeGreaterThan(30);
    expect(pages.flatMap(tooLong)).toEqual([]);
  });
});
