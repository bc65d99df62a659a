import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished, test } from 'vitest';
import { valueOf } from '../../../local/stack/outcome.ts';
import { claimPort } from '../../../local/stack/ports.ts';
import { platform } from './stack.ts';

/**
 * Runs the commands of docs/tutorial.md in one shell, as a reader would, and holds what each prints against the block
 * of text that follows it.
 */

const root = resolve(import.meta.dirname, '../../..');
const page = readFileSync(join(root, 'docs/tutorial.md'), 'utf8');

/** Printed between the commands of two blocks. */
const MARK = '@@ block';

interface Block {
  commands: string;
  /** What the page says is printed; null where it says nothing. */
  shown: string | null;
}

/** The commands of the page in order. A comment `<!-- not run … -->` above a block leaves it out. */
function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  for (const [, skipped, language, body = ''] of text.matchAll(
    /(<!-- not run[^>]*-->\s*)?^```(\w+)\n([\s\S]*?)^```$/gm,
  )) {
    const last = blocks.at(-1);
    if (skipped !== undefined) {
      continue;
    }
    if (language === 'sh') {
      blocks.push({ commands: body, shown: null });
    } else if (language === 'text' && last !== undefined) {
      last.shown = body;
    }
  }
  return blocks;
}

/** A pattern for a printed text in which `…` stands for anything. */
function pattern(shown: string): RegExp {
  const parts = shown.trim().split('…');
  return new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^]*?')}$`);
}

test('the commands of docs/tutorial.md print what the page says', async ({ expect }) => {
  const blocks = blocksOf(page);
  // Inside the checkout, as the page says, so that the receiver finds its package.
  mkdirSync(join(root, 'demo-output'), { recursive: true });
  const directory = mkdtempSync(join(root, 'demo-output/tutorial-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const port = valueOf(await claimPort({ port: 0, purpose: 'the receiver', variable: 'PORT' }));
  const script = blocks.map(({ commands }) => `${commands}\necho; echo '${MARK}'\n`).join('');
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: directory,
    env: { ...process.env, GATEWAY: platform.url, KEY: platform.key, PORT: String(port) },
    timeout: 50_000,
  });
  const printed = stdout.split(MARK);
  expect(printed).toHaveLength(blocks.length + 1);
  const checked = blocks.flatMap(({ shown }, index) =>
    shown === null ? [] : [{ shown, printed: printed[index]?.trim() ?? '' }],
  );
  expect(checked.length).toBeGreaterThan(5);
  for (const each of checked) {
    expect(each.printed).toMatch(pattern(each.shown));
  }
  expect(readFileSync(join(directory, 'hello.png')).subarray(1, 4).toString()).toBe('PNG');
});
