import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const files = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.includes('fixtures/') && existsSync(join(root, file)));

/** `[text](target)`, also over the end of a line. */
const LINK = /\]\(([^)\s]+)\)/g;
const CODE_BLOCK = /^ *```[\s\S]*?^ *```/gm;
/** A path of the repository, with an extension or a slash at its end. */
const PATH =
  /`((?:src|worker-gpu|local|test|docs|clients|migrations|workflows|domain|services|routes|durable-objects|providers|config|lib|contract)\/(?:[\w.-]+\/)*(?:[\w.-]+\.(?:ts|py|md|json|jsonc|sql|toml|lock|in|yaml|hcl|sh))?)`/g;
/** Folders that such a path may be relative to. */
const BASES = ['', 'src', 'worker-gpu/src/worker_gpu', 'worker-gpu'];
const INLINE_CODE = /`[^`\n]*`/g;

/** The anchors of a page, made as GitHub makes them. */
function anchorsOf(page: string): Set<string> {
  const text = readFileSync(join(root, page), 'utf8').replace(CODE_BLOCK, '');
  return new Set(
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/\]\([^)]*\)/g, '')
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

/** What is wrong with a link of `page`, or null. Links to other hosts are not tried. */
function brokenLink(page: string, link: string): string | null {
  if (/^[a-z]+:/.test(link)) {
    return null;
  }
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), path);
  if (!existsSync(join(root, target))) {
    return `${page}: ${link} does not exist`;
  }
  if (anchor === undefined || !target.endsWith('.md')) {
    return null;
  }
  return anchorsOf(target).has(anchor) ? null : `${page}: ${link} has no such heading`;
}

describe('links of the documents', () => {
  it('lead to an existing file and heading', () => {
    const links = files
      .filter((file) => file.endsWith('.md'))
      .flatMap((page) => {
        const text = readFileSync(join(root, page), 'utf8').replace(CODE_BLOCK, '').replace(INLINE_CODE, '');
        return [...text.matchAll(LINK)].map(([, link = '']) => ({ page, link }));
      });
    expect(links.length).toBeGreaterThan(100);
    expect(links.flatMap(({ page, link }) => brokenLink(page, link) ?? [])).toEqual([]);
  });

  it('lead from code and comments to an existing page', () => {
    const missing = files
      .filter((file) => /\.(ts|py|md|sh|yml|toml|jsonc?|hcl|lock|in)$|Dockerfile$/.test(file))
      .flatMap((file) =>
        [...readFileSync(join(root, file), 'utf8').matchAll(/(?<![\w/-])docs\/[\w./-]*\.md\b/g)].map(
          ([page]) => `${file}: ${page}`,
        ),
      )
      .filter((line) => !existsSync(join(root, line.split(': ')[1] ?? '')));
    expect(missing).toEqual([]);
  });

  it('name in inline code only files and folders that exist', () => {
    const named = files
      .filter((file) => file.endsWith('.md') && !/CHANGELOG|^\.changeset/.test(file))
      .flatMap((page) =>
        [...readFileSync(join(root, page), 'utf8').replace(CODE_BLOCK, '').matchAll(PATH)].map(([, path = '']) => ({
          page,
          path,
        })),
      );
    expect(named.length).toBeGreaterThan(100);
    expect(
      named.filter(({ page, path }) => ![...BASES, dirname(page)].some((base) => existsSync(join(root, base, path)))),
    ).toEqual([]);
  });
});
