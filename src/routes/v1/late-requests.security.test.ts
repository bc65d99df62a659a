import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { GRAPH, PNG, problemOf, storedOf, type Call } from '../../testing/gateway.ts';
import { madeKey, ownApp } from '../../testing/keys.ts';
import { MAX_BODY_MS } from '../http/body.ts';
import { batchSchema } from './schemas.ts';

/**
 * A request that takes long is carried out only if its key still stands when it is all there, and no request takes for
 * ever.
 */

/** What the gateway promises: docs/guides/keys.md. */
const REVOKED_EVERYWHERE_MS = 30_000;
const FILE = 'https://files.example.com/a';

/** A client whose key can be ended, and a clock that can be moved, while one of its requests is on its way. */
async function client() {
  const account = `a${crypto.randomUUID()}`;
  const made = await madeKey(account);
  let now = Date.now();
  const call: Call = ownApp({ clock: () => now })(made.key);
  const pass = (ms: number): void => {
    now += ms;
  };
  const revoked = async (): Promise<void> => {
    await env.DB.prepare('UPDATE keys SET revoked_at = 1 WHERE id = ?').bind(made.id).run();
    pass(REVOKED_EVERYWHERE_MS);
  };
  return { account, call, pass, revoked };
}

/** A body that comes in two halves, with something happening between them. */
function inHalves(bytes: Uint8Array, between: () => Promise<void> | void): ReadableStream<Uint8Array> {
  const middle = Math.floor(bytes.length / 2);
  const steps = [
    () => bytes.slice(0, middle),
    async () => {
      await between();
      return bytes.slice(middle);
    },
  ];
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const step = steps.shift();
        if (step === undefined) {
          controller.close();
        } else {
          controller.enqueue(await step());
        }
      },
    },
    { highWaterMark: 0 },
  );
}

/** What each URL answers for the rest of the test; RunPod takes every run. */
function internet(answer: () => Promise<Response>): string[] {
  const asked: string[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input) => {
    const url = input instanceof Request ? input.url : String(input);
    asked.push(url);
    return url === FILE ? answer() : Promise.resolve(Response.json({ id: 'run-1', status: 'IN_QUEUE' }));
  });
  onTestFinished(() => spy.mockRestore());
  return asked;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const form = utf8(`--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--b--\r\n`);

const BODIES: [string, string, string, Uint8Array][] = [
  ['a submit', '/v1/jobs', 'application/json', utf8(JSON.stringify({ workflow: GRAPH }))],
  ['a batch', '/v1/jobs/batch', 'application/json', utf8(JSON.stringify({ jobs: [{ workflow: GRAPH }] }))],
  ['an upload', '/v1/assets', 'application/octet-stream', PNG],
  ['a form', '/v1/assets', 'multipart/form-data; boundary=b', form],
  ['a new key', '/v1/keys', 'application/json', utf8(JSON.stringify({ environment: 'test' }))],
];

describe.each(BODIES)('%s', (_what, path, type, bytes) => {
  const send = (call: Call, between: () => Promise<void> | void) =>
    call(path, { method: 'POST', headers: { 'content-type': type }, body: inHalves(bytes, between) });

  it('is refused and deleted when its key is revoked during the body', async () => {
    const { account, call, revoked } = await client();
    const asked = internet(() => Promise.reject(new TypeError('no route')));
    const answer = await send(call, revoked);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer /);
    expect(await problemOf(answer)).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(asked).toEqual([]);
    const keys = await env.DB.prepare('SELECT count(*) AS n FROM keys WHERE account = ?').bind(account).first('n');
    expect(keys).toBe(1);
  });

  it('is accepted when it takes long and its key stays valid', async () => {
    const { call, pass } = await client();
    internet(() => Promise.reject(new TypeError('no route')));
    const answer = await send(call, () => pass(REVOKED_EVERYWHERE_MS));
    expect(answer.ok).toBe(true);
    await answer.body?.cancel();
  });

  it('is refused and deleted when its body takes too long', async () => {
    const { account, call, pass } = await client();
    const answer = await send(call, () => pass(MAX_BODY_MS + 1));
    expect(await problemOf(answer)).toMatchObject({ status: 400, code: 'incomplete_body' });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });
});

describe('a job whose key is revoked during its fetches', () => {
  const job = { workflow: GRAPH, inputs: [{ name: 'a.png', url: FILE }] };
  const sent = (body: unknown): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

  it('is refused without a stored job or file', async () => {
    const { account, call, revoked } = await client();
    const asked = internet(async () => {
      await revoked();
      return new Response(PNG);
    });
    const answer = await call('/v1/jobs', sent(job));
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer /);
    expect(await problemOf(answer)).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(asked).toEqual([FILE]);
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
  });

  it('is refused in a batch too', async () => {
    const { account, call, revoked } = await client();
    internet(async () => {
      await revoked();
      return new Response(PNG);
    });
    const answer = await call('/v1/jobs/batch', sent({ jobs: [job] }));
    expect(batchSchema.parse(await answer.json())).toMatchObject({
      accepted: 0,
      data: [{ status: 401, problem: { code: 'unauthorized' } }],
    });
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
  });
});
