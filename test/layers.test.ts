import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

const root = resolve(import.meta.dirname, '..');
const oxlint = join(root, 'node_modules/.bin/oxlint');

/** What the files of each folder of `src/` may import besides their own folder: the rule that the linter has to hold. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  contract: [],
  lib: [],
  config: ['contract', 'lib', 'env.ts'],
  domain: ['contract', 'lib', 'config'],
  providers: ['contract', 'lib', 'config', 'domain', 'storage', 'env.ts'],
  storage: ['contract', 'lib', 'config', 'domain', 'providers', 'env.ts'],
  'durable-objects': ['contract', 'lib', 'config', 'domain', 'providers', 'storage', 'env.ts'],
  services: ['contract', 'lib', 'config', 'domain', 'providers', 'storage', 'durable-objects', 'env.ts'],
  routes: ['contract', 'lib', 'config', 'domain', 'services', 'env.ts'],
};
/** Harnesses of tests: they may import any layer, and only tests import them. */
const FREE = 'testing';

/** What a file of a layer may not import of other people's. */
const PACKAGES = ['hono', '@hono/zod-openapi', 'cloudflare:workers'];
const MAY_USE: Record<string, readonly string[]> = {
  contract: [],
  lib: [],
  config: [],
  domain: [],
  providers: ['cloudflare:workers'],
  storage: ['cloudflare:workers'],
  'durable-objects': ['cloudflare:workers'],
  services: ['cloudflare:workers'],
  routes: ['hono', '@hono/zod-openapi'],
};

/** Every folder below `src/` that holds a file, as `routes/v1`. */
const everyFolder = [
  ...new Set(
    readdirSync(join(root, 'src'), { withFileTypes: true, recursive: true })
      .filter((each) => each.isFile())
      .map(({ parentPath }) => relative(join(root, 'src'), parentPath).split(sep).join('/'))
      .filter((folder) => folder !== ''),
  ),
];
const folders = everyFolder.filter((folder) => folder !== FREE && !folder.startsWith(`${FREE}/`));
const protocols = [...new Set(folders.flatMap((folder) => /^routes\/([^/]+)/.exec(folder)?.[1] ?? []))].filter(
  (protocol) => protocol !== 'http',
);
const layerOf = (folder: string): string => folder.split('/', 1)[0] ?? folder;

type Probe = { folder: string; target: string; specifier: string };

/** One import each, from each folder, of a file of each layer, of the entry, and of another protocol's routes. */
const probes: Probe[] = folders.flatMap((folder) => {
  const up = '../'.repeat(folder.split('/').length);
  const layers = Object.keys(MAY_IMPORT).filter((layer) => layer !== layerOf(folder));
  const protocol = folder.split('/')[1];
  const others = layerOf(folder) === 'routes' ? protocols : [];
  return [
    ...[...layers, FREE].map((target) => ({ folder, target, specifier: `${up}${target}/some/file.ts` })),
    ...['app.ts', 'index.ts', 'env.ts'].map((target) => ({ folder, target, specifier: `${up}${target}` })),
    ...others
      .filter((other) => other !== protocol)
      .map((other) => ({ folder, target: `routes/${other}`, specifier: `${up.slice(3)}${other}/some/file.ts` })),
    ...PACKAGES.map((target) => ({ folder, target, specifier: target })),
  ];
});
const allowed = ({ folder, target }: Probe): boolean =>
  [...(MAY_IMPORT[layerOf(folder)] ?? []), ...(MAY_USE[layerOf(folder)] ?? [])].includes(target);

const report = z.object({
  diagnostics: z.array(
    z.object({
      filename: z.string(),
      code: z.string(),
      labels: z.array(z.object({ span: z.object({ line: z.int() }) })),
    }),
  ),
});

let checkout: string;
/** `folder/file:line` of each import that the linter refuses. */
let refused: Set<string>;

/** Lints a tree that has the folders of `src/`, this repository's rules, and one file of imports in each folder. */
async function lint(file: string): Promise<Set<string>> {
  for (const folder of folders) {
    const path = join(checkout, 'src', folder, file);
    mkdirSync(dirname(path), { recursive: true });
    const lines = probes.filter((probe) => probe.folder === folder).map(({ specifier }) => `import '${specifier}';\n`);
    writeFileSync(path, lines.join(''));
  }
  const { stdout } = await promisify(execFile)(oxlint, ['--format', 'json'], {
    cwd: checkout,
    maxBuffer: 1 << 26,
  }).catch((error: unknown) => z.object({ stdout: z.string() }).parse(error));
  return new Set(
    report
      .parse(JSON.parse(stdout))
      .diagnostics.filter(({ code }) => code.includes('no-restricted-imports'))
      .flatMap(({ filename, labels }) => labels.map(({ span }) => `${filename}:${span.line}`)),
  );
}

const placeOf = (probe: Probe, file = 'probe.ts'): string => {
  const line = probes.filter(({ folder }) => folder === probe.folder).indexOf(probe) + 1;
  return `src/${probe.folder}/${file}:${line}`;
};

beforeAll(async () => {
  checkout = mkdtempSync(join(tmpdir(), 'layers-'));
  copyFileSync(join(root, '.oxlintrc.json'), join(checkout, '.oxlintrc.json'));
  refused = await lint('probe.ts');
});
afterAll(() => {
  rmSync(checkout, { recursive: true });
});

describe('the layers of src/', () => {
  it('include every folder of src/', () => {
    expect(new Set(everyFolder.map(layerOf))).toEqual(new Set([...Object.keys(MAY_IMPORT), FREE]));
  });

  it.each(folders)('refuse every forbidden import in src/%s', (folder) => {
    const forbidden = probes.filter((probe) => probe.folder === folder && !allowed(probe));
    expect(forbidden.length).toBeGreaterThan(0);
    expect(forbidden.filter((probe) => !refused.has(placeOf(probe)))).toEqual([]);
  });

  it.each(folders)('allow every other import in src/%s', (folder) => {
    const fine = probes.filter((probe) => probe.folder === folder && allowed(probe));
    expect(fine.filter((probe) => refused.has(placeOf(probe)))).toEqual([]);
  });
});
