import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { wranglerProgram } from '../local/stack/gateway.ts';
import { startProgram } from '../local/stack/program.ts';

const root = resolve(import.meta.dirname, '..');
const mapSchema = z.object({ sources: z.array(z.string()) });

it('the bundle of the gateway holds zod without its locales', { timeout: 120_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'comfy-edge-bundle-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const args = ['deploy', '--dry-run', '--outdir', join(directory, 'out'), '--config', join(root, 'wrangler.jsonc')];
  const program = await startProgram(wranglerProgram({ root, directory }, args, 'bundle.log'));
  expect((await program.exited).code).toBe(0);
  const { sources } = mapSchema.parse(JSON.parse(readFileSync(join(directory, 'out/index.js.map'), 'utf8')));
  const ofZod = sources.filter((source) => source.includes('/zod/v4/'));
  expect(ofZod.some((source) => source.endsWith('/classic/schemas.js'))).toBe(true);
  expect(ofZod.filter((source) => source.includes('/locales/') && !source.endsWith('/en.js'))).toEqual([]);
});
