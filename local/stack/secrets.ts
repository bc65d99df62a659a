import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** Only the owner may read the files beside the databases. */
const OWNER_ONLY = 0o600;

const secretsSchema = z.object({
  tokenSecret: z.string().min(32),
  adminToken: z.string().min(32),
  runpodApiKey: z.string().min(1),
  /** The API key made for the person at the keyboard; null until the gateway has made it. */
  apiKey: z.string().nullable(),
});
export type Secrets = z.infer<typeof secretsSchema>;

/** The secrets of this state directory; made once, so that keys and signed URLs outlive a restart. */
export function readSecrets(directory: string): Secrets {
  const path = pathIn(directory);
  if (existsSync(path)) {
    const kept = secretsSchema.safeParse(parseJson(readFileSync(path, 'utf8')));
    if (kept.success) {
      return kept.data;
    }
  }
  const random = () => randomBytes(32).toString('base64url');
  const made: Secrets = { tokenSecret: random(), adminToken: random(), runpodApiKey: random(), apiKey: null };
  writeSecrets(directory, made);
  return made;
}

export function writeSecrets(directory: string, secrets: Secrets): void {
  writePrivate(pathIn(directory), `${JSON.stringify(secrets, null, 2)}\n`);
}

/** Writes a file that only its owner can read. */
export function writePrivate(path: string, text: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text, { mode: OWNER_ONLY });
}

function pathIn(directory: string): string {
  return join(directory, 'secrets.json');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
