import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const folder = join(root, 'docs/decisions');
const pages = readdirSync(folder).filter((name) => /^\d{4}-.*\.md$/.test(name));
const textOf = (page: string): string => readFileSync(join(folder, page), 'utf8');

/** The parts of every decision, in order. */
const PARTS = ['Status', 'Context', 'Decision', 'Alternatives', 'Consequences'];

describe('docs/decisions', () => {
  it.each(pages)('%s has the parts of a decision in order', (page) => {
    const text = textOf(page);
    const parts = [...text.matchAll(/^\*\*(\w+)\.\*\*/gm)].map(([, name]) => name);
    expect(parts).toEqual(PARTS);
    expect(text).toMatch(new RegExp(`^# ${Number(page.slice(0, 4))}\\. \\S`));
  });

  it('lists every decision by its title', () => {
    const index = textOf('README.md');
    for (const page of pages) {
      const [, number, title] = /^# (\d+)\. (.*)$/m.exec(textOf(page)) ?? [];
      expect(index).toContain(`| [${number}](${page}) | ${title} |`);
    }
  });

  it('has the page of every decision that code and documents name by number', () => {
    const numbers = new Set(pages.map((page) => Number(page.slice(0, 4))));
    const files = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' })
      .split('\n')
      .filter((file) => /\.(ts|py|md|sh|toml|jsonc?|in)$|Dockerfile$/.test(file))
      .filter((file) => !/fixtures\/|\.test\.ts$|CHANGELOG/.test(file) && existsSync(join(root, file)));
    const cited = files.flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/decisions?[ /[]+0*(\d{1,4})\b/gi)].map(([, number]) => ({
        file,
        number: Number(number),
      })),
    );
    expect(cited.length).toBeGreaterThan(15);
    expect(cited.filter(({ number }) => !numbers.has(number))).toEqual([]);
  });
});
