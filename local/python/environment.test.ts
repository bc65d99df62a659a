import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished, expect, test } from 'vitest';
import { ensureEnvironment } from './environment.ts';

/** A checkout with a lock file, and a folder of programs that is the whole PATH. */
interface Checkout {
  root: string;
  programs: string;
}

/** Answers the questions `ensureEnvironment` asks a Python, makes environments with the `pip` and `uv` beside it, and notes each. */
const PYTHON = `#!/bin/sh
case "$*" in
  *version_info*) echo VERSION ;;
  *ensurepip*) exit HAS_VENV ;;
  *"-m venv"*)
    echo made >> "$(/usr/bin/dirname "$0")/made"
    for folder; do :; done
    /bin/mkdir -p "$folder/bin"
    /bin/cp "$(/usr/bin/dirname "$0")/pip" "$folder/bin/python"
    /bin/cp "$(/usr/bin/dirname "$0")/uv" "$folder/bin/uv" ;;
esac
`;

const QUIET = () => undefined;

function checkout(python: { version?: string; venv?: boolean; pip?: string; uv?: string } | null): Checkout {
  const root = mkdtempSync(join(tmpdir(), 'comfy-edge-python-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const programs = join(root, 'programs');
  mkdirSync(join(root, 'local/python'), { recursive: true });
  mkdirSync(programs);
  writeFileSync(join(root, 'local/python/requirements.lock'), 'numpy==2.4.6\n');
  if (python !== null) {
    const text = PYTHON.replace('VERSION', python.version ?? '3.12.1').replace(
      'HAS_VENV',
      python.venv === false ? '1' : '0',
    );
    program(join(programs, 'python3'), text);
    program(join(programs, 'pip'), `#!/bin/sh\n${python.pip ?? 'exit 0'}\n`);
    program(join(programs, 'uv'), `#!/bin/sh\n${python.uv ?? 'exit 0'}\n`);
  }
  return { root, programs };
}

function program(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

function timesMade({ programs }: Checkout): number {
  const note = join(programs, 'made');
  return existsSync(note) ? readFileSync(note, 'utf8').trim().split('\n').length : 0;
}

function ensure({ root, programs }: Checkout) {
  return ensureEnvironment({ root, searchPath: programs, report: QUIET });
}

test('the environment is created once and then reused', async () => {
  const place = checkout({});
  const python = join(place.root, '.venv/bin/python');
  expect(await ensure(place)).toEqual({ ok: true, value: { python, made: true } });
  expect(await ensure(place)).toEqual({ ok: true, value: { python, made: false } });
  expect(timesMade(place)).toBe(1);
});

test('a changed lock file creates a new environment', async () => {
  const place = checkout({});
  await ensure(place);
  writeFileSync(join(place.root, 'local/python/requirements.lock'), 'numpy==2.5.0\n');
  expect(await ensure(place)).toMatchObject({ ok: true, value: { made: true } });
});

test("a link to another checkout's environment is used when it matches, and never emptied", async () => {
  const [other, place] = [checkout({}), checkout({})];
  await ensure(other);
  symlinkSync(join(other.root, '.venv'), join(place.root, '.venv'));
  expect(await ensure(place)).toMatchObject({ ok: true, value: { made: false } });
  writeFileSync(join(place.root, 'local/python/requirements.lock'), 'numpy==2.5.0\n');
  expect(await ensure(place)).toMatchObject({ ok: false, message: expect.stringContaining('is a link') });
  expect(timesMade(place)).toBe(0);
  expect(await ensure(other)).toMatchObject({ ok: true, value: { made: false } });
});

test('an unfinished environment is created again', async () => {
  const place = checkout({ pip: 'exit 1' });
  await ensure(place);
  program(join(place.programs, 'pip'), '#!/bin/sh\nexit 0\n');
  expect(await ensure(place)).toMatchObject({ ok: true, value: { made: true } });
});

test('an environment whose Python is missing is created again', async () => {
  const place = checkout({});
  await ensure(place);
  rmSync(join(place.root, '.venv/bin/python'));
  expect(await ensure(place)).toMatchObject({ ok: true, value: { made: true } });
});

test('several processes at once create one environment', async () => {
  const place = checkout({ pip: '/bin/sleep 0.2' });
  const module = join(import.meta.dirname, 'environment.ts');
  const script = `
    const { ensureEnvironment } = await import(${JSON.stringify(module)});
    const where = ${JSON.stringify({ root: place.root, searchPath: place.programs })};
    console.log(JSON.stringify(await ensureEnvironment({ ...where, report: () => undefined })));`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  const answers = await Promise.all([run(), run(), run(), run()]);
  const results: unknown[] = answers.map(({ stdout }) => JSON.parse(stdout));
  expect(timesMade(place)).toBe(1);
  expect(results.filter((result) => JSON.stringify(result).includes('"made":true'))).toHaveLength(1);
  expect(results.filter((result) => JSON.stringify(result).includes('"ok":true'))).toHaveLength(4);
});

test('a machine without Python gets a message that names what to install', async () => {
  expect(await ensure(checkout(null))).toEqual({
    ok: false,
    details: [],
    message:
      'python3 was not found. Install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv) and run the command again.',
  });
});

test('a Python that is too old is named in the message', async () => {
  const result = await ensure(checkout({ version: '3.9.2' }));
  expect(result).toMatchObject({
    ok: false,
    message: expect.stringContaining('python3 is 3.9.2, too old. Install Python 3.11'),
  });
});

test('a newer Python beside an old python3 is used', async () => {
  const place = checkout({ version: '3.9.2' });
  program(join(place.programs, 'python3.13'), PYTHON.replace('VERSION', '3.13.0').replace('HAS_VENV', '0'));
  expect(await ensure(place)).toMatchObject({ ok: true, value: { made: true } });
});

test('a Python without venv gets a message of its own', async () => {
  const result = await ensure(checkout({ venv: false }));
  expect(result).toMatchObject({ ok: false, message: expect.stringContaining('apt install python3-venv') });
});

test.each(['pip', 'uv'])(
  'a failing %s shows the end of its output, and leaves nothing that looks finished',
  async (tool) => {
    const place = checkout({
      [tool]: 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo "line $n"; done; echo "no such index" >&2; exit 1',
    });
    const result = await ensure(place);
    expect(result).toMatchObject({ ok: false, message: expect.stringContaining(`${tool} could not install`) });
    const details = result.ok ? [] : result.details;
    expect(details).toHaveLength(12);
    expect(details).toContain('no such index');
    expect(await ensure(place)).toMatchObject({ ok: false });
    expect(timesMade(place)).toBe(2);
  },
);

test("uv uses the package index of pip's configuration", async () => {
  const place = checkout({
    pip: `case "$*" in *"config list"*) echo "global.extra-index-url='https://other.test'"; echo "global.index-url='https://mirror.test/simple'" ;; esac`,
    uv: 'echo "$UV_DEFAULT_INDEX" > "${0%/.venv/*}/programs/index"',
  });
  await ensure(place);
  expect(readFileSync(join(place.programs, 'index'), 'utf8')).toBe('https://mirror.test/simple\n');
});

test('an abort ends pip before the call returns', async () => {
  const stop = new AbortController();
  // Renamed into place, so that the watcher sees the file only when the number is in it.
  const pip =
    'here="${0%/.venv/*}/programs"; echo $$ > "$here/number"; /bin/mv "$here/number" "$here/started"; exec /bin/sleep 60';
  const place = checkout({ pip });
  const watcher = watch(place.programs, (_, name) => {
    if (name === 'started') {
      stop.abort();
    }
  });
  const making = ensureEnvironment({
    root: place.root,
    searchPath: place.programs,
    signal: stop.signal,
    report: QUIET,
  });
  await expect(making).rejects.toMatchObject({ name: 'AbortError' });
  watcher.close();
  const number = Number(readFileSync(join(place.programs, 'started'), 'utf8'));
  expect(() => process.kill(number, 0)).toThrow('ESRCH');
});
