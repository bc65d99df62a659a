import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';

const root = resolve(import.meta.dirname, '..');
const sdk = join(root, 'clients/sdk');

const manifestSchema = z.object({
  exports: z.object({ '.': z.object({ types: z.string(), default: z.string() }) }),
  files: z.array(z.string()),
  dependencies: z.record(z.string(), z.string()),
});
const manifest = manifestSchema.parse(JSON.parse(readFileSync(join(sdk, 'package.json'), 'utf8')));

it('the package of the TypeScript client builds every file that its manifest exports', async () => {
  // Below node_modules, where the built files find the packages that they import.
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const directory = mkdtempSync(join(cache, 'sdk-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', sdk, '--outDir', directory]);
  const entry = manifest.exports['.'];
  const built = (path: string) => path.replace('./dist', directory);
  expect(manifest.files).toEqual(['dist']);
  expect(readFileSync(built(entry.types), 'utf8')).toContain('ComfyEdge');
  const module: unknown = await import(pathToFileURL(built(entry.default)).href);
  expect(module).toMatchObject({ ComfyEdge: expect.any(Function), ApiError: expect.any(Function) });
});

/** The package that an import names: its scope and name, without the file in it. */
const packageOf = (path: string): string =>
  path
    .split('/')
    .slice(0, path.startsWith('@') ? 2 : 1)
    .join('/');

it('the package of the TypeScript client lists every package that its code imports', () => {
  const imported = execFileSync('git', ['ls-files', '*.ts'], { cwd: sdk, encoding: 'utf8' })
    .split('\n')
    .filter((file) => file !== '' && !/\.test\.ts$|^testing\//.test(file))
    .flatMap((file) => [...readFileSync(join(sdk, file), 'utf8').matchAll(/from '([^.'][^']*)'/g)])
    .map(([, path = '']) => packageOf(path));
  expect(Object.keys(manifest.dependencies).sort()).toEqual([...new Set(imported)].sort());
});
