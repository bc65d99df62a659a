import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { wranglerProgram } from '../../local/stack/gateway.ts';
import { startProgram } from '../../local/stack/program.ts';

const root = resolve(import.meta.dirname, '..', '..');

/** The gateway of the release before, as it was deployed. `npm run freeze` writes it (CONTRIBUTING.md, Releases). */
const PREVIOUS = join(import.meta.dirname, 'previous-release.js.gz');

/** The gateway of this tree as one minified module, as a deploy would upload it. */
export async function thisRelease(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'comfy-edge-build-'));
  try {
    const args = ['deploy', '--dry-run', '--minify', '--outdir', directory, '--config', join(root, 'wrangler.jsonc')];
    const build = await startProgram(wranglerProgram({ root, directory }, args, 'build.log'));
    const { code } = await build.exited;
    if (code !== 0) {
      throw new Error(`the gateway does not build:\n${build.tail().join('\n')}`);
    }
    await build.stop();
    return readFileSync(join(directory, 'index.js'), 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export const previousRelease = (): string => gunzipSync(readFileSync(PREVIOUS)).toString();

/** Stores this tree's gateway as the previous release, which the next one must work beside. */
export async function freeze(): Promise<void> {
  writeFileSync(PREVIOUS, gzipSync(await thisRelease(), { level: 9 }));
}
