import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

/**
 * Writes `src/env.ts`, the type of the gateway's bindings, from what `wrangler types` makes of `wrangler.jsonc`. With
 * `--check` it writes nothing and fails where the file is not current.
 *
 * Three things differ from wrangler's own file: a namespace is typed by the interface in `contract/rpc.ts` instead of by
 * the class (the classes import `Env`, so the class would close a circle), rate limits are optional, and the variables are
 * the ones that `config/names.ts` lists.
 */
const root = resolve(import.meta.dirname, '..');
const target = join(root, 'src/env.ts');

/** `BUCKET: R2Bucket`, for each binding of `wrangler.jsonc`. */
function bindings(): [name: string, type: string][] {
  const directory = mkdtempSync(join(tmpdir(), 'env-types-'));
  try {
    const path = join(directory, 'env.d.ts');
    execFileSync(
      join(root, 'node_modules/.bin/wrangler'),
      ['types', '--include-runtime=false', '--include-main-module=false', '--strict-vars=false', path],
      { cwd: root, stdio: 'pipe', env: { ...process.env, WRANGLER_SEND_METRICS: 'false' } },
    );
    const found = /interface __BaseEnv_Env \{\n(.*?)\n\}/s.exec(readFileSync(path, 'utf8'))?.[1];
    if (found === undefined) {
      throw new Error('wrangler types wrote no interface of bindings: see what changed in its output');
    }
    return [...found.matchAll(/^\t(\w+)\??: (.+);$/gm)].map(([, name = '', type = '']) => [name, type]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function render(all: readonly [name: string, type: string][]): string {
  const objects: string[] = [];
  const lines: string[] = [];
  const limits: string[] = [];
  for (const [name, type] of all) {
    const object = /^DurableObjectNamespace<import\(.*\)\.(\w+)>$/.exec(type)?.[1];
    if (object !== undefined) {
      objects.push(`${object}Rpc`);
      lines.push(`  ${name}: ObjectNamespace<${object}Rpc>;`);
    } else if (type === 'RateLimit') {
      limits.push(name);
    } else if (type !== 'string') {
      lines.push(`  ${name}: ${type};`);
    }
  }
  return `// Written by \`npm run types\` from wrangler.jsonc. Do not edit.
import type { ConfigName } from './config/names.ts';
import type { ${[...objects.toSorted(), 'ObjectNamespace'].toSorted().join(', ')} } from './contract/rpc.ts';

/** Bindings, variables and secrets as the platform hands them over; \`config/schema.ts\` checks them. */
export type Env = {
${lines.join('\n')}
} & Partial<Record<RateLimitName, RateLimit>> &
  Partial<Record<ConfigName, string>>;

/** Bindings to the platform's rate limits. The gateway works without any of them. */
export const RATE_LIMIT_NAMES = [${limits.map((name) => `'${name}'`).join(', ')}] as const;
export type RateLimitName = (typeof RATE_LIMIT_NAMES)[number];
`;
}

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const text = render(bindings());
if (!values.check) {
  writeFileSync(target, text);
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('src/env.ts is not what wrangler.jsonc says. Run `npm run types`.');
  process.exitCode = 1;
}
