import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { applyMigrations, migrationsHash } from '../gateway.ts';
import { lock } from '../lock.ts';
import { valueOf } from '../outcome.ts';

const root = resolve(import.meta.dirname, '..', '..', '..');

/** Kept between runs, and made again when a migration or wrangler changes. */
const CACHE = join(root, '.local', 'test');

/**
 * A new state directory for a gateway, with a database that has every migration. Applying them takes wrangler longer than
 * starting the gateway, so it is done once and copied. `npm run demo` and `npm start` apply them themselves
 * (`local/demo.test.ts`).
 *
 * @param name A word of the folder's name, to know it by.
 */
export async function newStateDirectory(name: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), `comfy-edge-${name}-`));
  await addMigratedState(directory);
  return directory;
}

/** Copies the migrated database into a directory that may exist. */
export async function addMigratedState(directory: string): Promise<void> {
  cpSync(await migratedState(), directory, { recursive: true });
}

async function migratedState(): Promise<string> {
  const made = join(CACHE, `migrated-${wranglerVersion()}-${migrationsHash(root).slice(0, 16)}`);
  const held = await lock(join(CACHE, 'migrated.lock'), () => undefined);
  try {
    if (!existsSync(made)) {
      const unfinished = `${made}.new`;
      rmSync(unfinished, { recursive: true, force: true });
      mkdirSync(unfinished, { recursive: true });
      valueOf(await applyMigrations({ root, directory: unfinished, signal: AbortSignal.timeout(60_000) }));
      rmSync(join(unfinished, 'logs'), { recursive: true, force: true });
      renameSync(unfinished, made);
    }
    return made;
  } finally {
    held.release();
  }
}

function wranglerVersion(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules/wrangler/package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}
