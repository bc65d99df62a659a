import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { ensureEnvironment } from './environment.ts';

/**
 * The real pip and the real uv against a package index in this process.
 *
 * Guards against the failure of 2026-11: pip resolved an extra of a dependency to a release newer than the lock, ten
 * days after the lock was made, and no fresh machine could install it any more.
 */

const ROOT = resolve(import.meta.dirname, '../..');

/** Writes a wheel with nothing in it but its metadata. `$1` the folder, `$2` the name, `$3` the version, `$4` a program's text or nothing, the rest its needs. */
const WHEEL = `
import sys, zipfile
folder, name, version, script, *needs = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{info}/METADATA", "\\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}",
        "Provides-Extra: email", *(f"Requires-Dist: {need}" for need in needs)]) + "\\n")
    if script:
        program = zipfile.ZipInfo(f"{name}-{version}.data/scripts/{name}")
        program.external_attr = 0o100755 << 16
        wheel.writestr(program, script)
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n")
`;

interface WheelParts {
  needs?: string[];
  script?: string;
}

/** A folder of wheels, served as a package index (PEP 503). */
async function servePackages(wheels: string): Promise<string> {
  const server = createServer((request, response) => {
    const [, kind = '', name = ''] = (request.url ?? '').split('/');
    const file = join(wheels, decodeURIComponent(name));
    if (kind === 'files' && existsSync(file)) {
      response.end(readFileSync(file));
      return;
    }
    const found = readdirSync(wheels).filter((wheel) => wheel.startsWith(`${name}-`));
    response.writeHead(found.length === 0 ? 404 : 200, { 'content-type': 'text/html' });
    response.end(found.map((wheel) => `<a href="/files/${wheel}">${wheel}</a>`).join('\n'));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => void server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/simple/`;
}

test('installing the lock installs the locked version of a dependency with a newer release and an extra', async () => {
  const root = mkdtempSync(join(tmpdir(), 'comfy-edge-locked-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const wheels = join(root, 'wheels');
  mkdirSync(wheels);
  mkdirSync(join(root, 'local/python'), { recursive: true });
  mkdirSync(join(root, 'worker-gpu/image'), { recursive: true });
  const python = join(ROOT, '.venv/bin/python');
  // The wheel of uv starts the installed uv: the real program, without its 50 MB.
  const uv = `#!/bin/sh\nexec '${join(ROOT, '.venv/bin/uv')}' "$@"\n`;
  const addWheel = (name: string, version: string, { needs = [], script = '' }: WheelParts = {}) => {
    execFileSync(python, ['-c', WHEEL, wheels, name, version, script, ...needs]);
    const hash = createHash('sha256').update(readFileSync(join(wheels, `${name}-${version}-py3-none-any.whl`)));
    return `${name}==${version} --hash=sha256:${hash.digest('hex')}\n`;
  };
  const lock =
    addWheel('service', '1.0', { needs: ['schema[email]>=2'] }) +
    addWheel('schema', '2.0', { needs: ['emailcheck; extra == "email"'] }) +
    addWheel('emailcheck', '1.0');
  addWheel('schema', '2.1', { needs: ['emailcheck; extra == "email"'] });
  writeFileSync(join(root, 'local/python/requirements.lock'), lock);
  writeFileSync(join(root, 'worker-gpu/image/builder.lock'), addWheel('uv', '1.0', { script: uv }));
  const index = await servePackages(wheels);
  vi.stubEnv('PIP_INDEX_URL', index);
  vi.stubEnv('UV_CACHE_DIR', join(root, 'cache'));
  onTestFinished(() => void vi.unstubAllEnvs());

  const result = await ensureEnvironment({ root, report: () => undefined });

  expect(result).toMatchObject({ ok: true });
  const installed = execFileSync(join(root, '.venv/bin/python'), ['-m', 'pip', 'list', '--format=freeze'], {
    encoding: 'utf8',
  });
  expect(installed.split('\n')).toEqual(expect.arrayContaining(['emailcheck==1.0', 'schema==2.0', 'service==1.0']));
});
