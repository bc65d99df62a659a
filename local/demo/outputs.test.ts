import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ComfyEdge, type Output } from '../../clients/sdk/index.ts';
import { sampleJob } from '../../clients/sdk/testing/samples.ts';
import { writeOutputs } from './outputs.ts';

const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3]);

function described(name: string, bytes: Buffer, changes: Partial<Output> = {}): Output {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const url = 'https://gw.example/output';
  return {
    name,
    node_id: '9',
    type: 'image',
    content_type: 'image/png',
    size_bytes: bytes.length,
    sha256,
    url,
    ...changes,
  };
}

/** Writes the outputs into a folder of the test, from a gateway that serves `bytes` for every one. */
async function write(outputs: Output[], bytes: Buffer<ArrayBuffer>) {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-outputs-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const edge = new ComfyEdge({
    url: 'http://gateway.invalid',
    key: 'k',
    fetch: () => Promise.resolve(new Response(bytes)),
  });
  const result = await writeOutputs(edge, sampleJob({ outputs }), join(folder, 'out'), new AbortController().signal);
  return { folder, result };
}

test('an output is written to its name and subfolder', async () => {
  const { folder, result } = await write([described('clip/still.png', PNG)], PNG);
  const path = join(folder, 'out', 'clip', 'still.png');
  expect(result).toEqual({ ok: true, value: [{ path, bytes: PNG.length }] });
  expect(readFileSync(path)).toEqual(PNG);
});

test.each([
  ['another size', described('a.png', PNG, { size_bytes: 12 }), '11 bytes, not 12'],
  ['another hash', described('a.png', PNG, { sha256: '0'.repeat(64) }), `not ${'0'.repeat(64)}`],
  ['another kind of file', described('a.mp4', PNG, { content_type: 'video/mp4' }), 'no video/mp4'],
])('an output of %s is rejected and not written', async (_, output, why) => {
  const { folder, result } = await write([output], PNG);
  expect(result).toMatchObject({ ok: false, message: expect.stringContaining(why) });
  expect(existsSync(join(folder, 'out', output.name))).toBe(false);
});

test.each(['../../escape.png', '..', ''])('an output called "%s" is not written outside the folder', async (name) => {
  const { result } = await write([described(name, PNG)], PNG);
  expect(result).toMatchObject({ ok: false, message: expect.stringContaining('outside') });
});
