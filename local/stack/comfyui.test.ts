import { once } from 'node:events';
import { type RequestListener, createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findComfyUi } from './comfyui.ts';

const root = resolve(import.meta.dirname, '../..');

async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

test('an unset COMFYUI_URL selects the CPU engine of the checkout', async () => {
  const path = join(root, 'local/comfyui');
  expect(await findComfyUi(root, undefined)).toEqual({ ok: true, value: { path } });
  expect(await findComfyUi(root, '')).toEqual({ ok: true, value: { path } });
});

test('COMFYUI_URL selects a ComfyUI that answers, with or without a slash at the end', async () => {
  const url = await answering((request, response) => {
    response.writeHead(request.url === '/system_stats' ? 200 : 404);
    response.end(JSON.stringify({ system: { comfyui_version: '0.3.64' }, devices: [] }));
  });
  expect(await findComfyUi(root, url)).toEqual({ ok: true, value: { url } });
  expect(await findComfyUi(root, `${url}/`)).toEqual({ ok: true, value: { url } });
});

test('COMFYUI_URL of a server that is not a ComfyUI is rejected', async () => {
  const url = await answering((_, response) => response.end('<h1>Hello</h1>'));
  expect(await findComfyUi(root, url)).toMatchObject({
    ok: false,
    message: expect.stringContaining('answers as a ComfyUI'),
  });
});

test.each(['localhost:8188', 'ftp://host', 'not a url'])('COMFYUI_URL=%s is rejected: not an HTTP URL', async (url) => {
  expect(await findComfyUi(root, url)).toMatchObject({ ok: false, message: expect.stringContaining('not a URL') });
});
