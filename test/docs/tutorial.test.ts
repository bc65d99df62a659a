import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { claimPort } from '../../local/stack/ports.ts';
import { valueOf } from '../../local/stack/outcome.ts';
import { type Platform, startPlatform } from '../e2e/platform.ts';

/**
 * Runs the commands of docs/tutorial.md in one shell, as a reader would, and holds what each prints against the block
 * of text that follows it.
 */

const root = resolve(import.meta.dirname, '../..');
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

const blocks = blocksOf(page);
let platform: Platform;
let directory: string;
beforeAll(async () => {
  platform = await startPlatform();
  // Inside the checkout, as the page says, so that the receiver finds its package.
  mkdirSync(join(root, 'demo-output'), { recursive: true });
  directory = mkdtempSync(join(root, 'demo-output/tutorial-'));
});
afterAll(async () => {
  await platform.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe('docs/tutorial.md', () => {
  it('prints what the page says, command by command', async () => {
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
});
