import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { testBindings } from '../test/gateway-bindings.ts';
import { consoleLog } from './providers/log.ts';
import {
  ADMIN_TOKEN,
  anyone,
  GRAPH,
  newClient,
  ORIGIN,
  ownGateway,
  PNG,
  postJson,
  type Call,
} from './testing/gateway.ts';
import { outbox, runAlarm, harnessOf, drained, until } from './testing/job.ts';
import { hookOf } from './testing/webhook.ts';
import { tokenFor, workerCall } from './testing/worker-calls.ts';

/**
 * Sends every kind of secret through the gateway in one long scenario, with successes and failures. Then searches every
 * log line, every problem response and every webhook delivery for each secret.
 */

/** Secrets by name, so that a failure names the leaked secret without showing it. */
class Secrets {
  private readonly known = new Map<string, string>();

  /** Records a secret, and returns it. */
  keep(name: string, value: string): string {
    this.known.set(name, value);
    return value;
  }

  /** Returns the names of the secrets in a text, in plain form or in any encoding. */
  in(text: string): string[] {
    return [...this.known]
      .filter(([, value]) => formsOf(value).some((form) => text.includes(form)))
      .map(([name]) => name);
  }
}

function formsOf(value: string): string[] {
  const bytes = new TextEncoder().encode(value);
  // The last characters depend on what follows.
  const whole = (base64: string): string => base64.slice(0, Math.floor(bytes.length / 3) * 4);
  return [
    value,
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
    whole(bytes.toBase64()),
    whole(bytes.toBase64({ alphabet: 'base64url', omitPadding: true })),
    bytes.toHex(),
  ];
}

let lines: string[];
beforeEach(() => {
  lines = [];
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    vi.spyOn(console, method).mockImplementation(
      (...values: unknown[]) => void lines.push(values.map(String).join(' ')),
    );
  }
});
afterEach(() => vi.restoreAllMocks());

const events = (): string[] => lines.map((line) => z.object({ event: z.string() }).parse(JSON.parse(line)).event);

const runSchema = z.object({ input: z.object({ token: z.string() }), webhook: z.url() });

/** Mocks RunPod, one file server, and receivers of webhooks. Their errors quote the whole request. */
function mockInternet(secrets: Secrets): void {
  let runs = 0;
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    const { url } = request;
    if (url.startsWith('https://runpod.test/')) {
      const run = runSchema.safeParse(await request.json().catch(() => null));
      if (run.success) {
        secrets.keep('ticket token', run.data.input.token);
        secrets.keep('hook token', new URL(run.data.webhook).searchParams.get('token') ?? '');
      }
      runs += 1;
      if (runs === 1) {
        throw new TypeError(`fetch failed: ${url} ${request.headers.get('authorization')}`);
      }
      return Response.json({ id: `run-${runs}`, status: 'IN_QUEUE' });
    }
    if (url.startsWith('https://files.acme.com/good')) {
      return new Response(PNG);
    }
    throw new TypeError(`fetch failed: ${url}`);
  });
  onTestFinished(() => spy.mockRestore());
}

describe('a secret', () => {
  it('is not in the log, in a problem or in a delivery', async () => {
    const secrets = new Secrets();
    secrets.keep('admin token', ADMIN_TOKEN);
    secrets.keep('RunPod key', testBindings.RUNPOD_API_KEY);
    secrets.keep('token secret', testBindings.TOKEN_SECRET);
    secrets.keep('R2 secret', testBindings.R2_SECRET_ACCESS_KEY);
    const prompt = secrets.keep('prompt', 'a castle of canary feathers at dawn');
    const query = secrets.keep('query of an input', 'sig-canary-4711-query');
    const password = secrets.keep('password of an input', 'pw-canary-4711');
    const hookQuery = secrets.keep('query of a webhook', 'hook-canary-4711');
    mockInternet(secrets);
    const { account, key, call } = await newClient();
    secrets.keep('key', key);
    secrets.keep('random part of the key', key.split('_').at(-1) ?? '');

    /** The bodies of all problem responses, which are searched at the end. */
    const responses: string[] = [];
    const ask: Call = async (where, init) => {
      const response = await call(where, init);
      if (response.status >= 400) {
        responses.push(await response.clone().text());
      }
      return response;
    };
    const as = (credential: string) => ({ headers: { authorization: `Bearer ${credential}` } });

    // A webhook whose receiver cannot be reached.
    const hook = await hookOf(ask, { url: `https://hooks.acme.com/h?auth=${hookQuery}` });
    secrets.keep('secret of a webhook', hook.secret);

    // Valid and invalid submits.
    const workflow = { ...GRAPH, '3': { class_type: 'CLIPTextEncode', inputs: { text: prompt, clip: ['1', 0] } } };
    const good = `https://files.acme.com/good.png?X-Amz-Signature=${query}`;
    const inputs = [{ name: 'a.png', url: good }];
    const variables = { PROMPT: prompt };
    const placeholders = { ...workflow, '3': { class_type: 'CLIPTextEncode', inputs: { text: '{{ PROMPT }}' } } };
    const submitted = await ask('/v1/jobs', postJson({ workflow, inputs }));
    expect(submitted.status).toBe(201);
    const { id } = z.object({ id: z.string() }).parse(await submitted.json());
    for (const body of [
      { workflow: placeholders, variables: { ...variables, OTHER: prompt } },
      { workflow, overrides: { prompt, width: prompt } },
      { workflow, params: { '9': { text: prompt } } },
      { workflow, inputs: [{ name: 'a.png', url: `https://files.acme.com/gone?sig=${query}` }] },
      { workflow, inputs: [{ name: 'a.png', url: `https://u:${password}@files.acme.com/good` }] },
      { workflow, inputs: [{ name: 'a.png', url: `http://127.0.0.1/?sig=${query}` }] },
      { workflow, inputs: [{ name: 'a.png', data: new TextEncoder().encode(prompt).toBase64() }] },
    ]) {
      expect((await ask('/v1/jobs', postJson(body))).status).toBe(422);
    }
    const broken = { ...postJson({}), body: `{"workflow": "${prompt}" ${key}` };
    expect((await ask('/v1/jobs', broken)).status).toBe(400);

    // Credentials in the wrong places.
    const mangled = secrets.keep('mangled key', `${key.slice(0, -1)}${key.endsWith('x') ? 'y' : 'x'}`);
    for (const response of [
      await anyone('/v1/jobs', as(mangled)),
      await anyone(`/v1/jobs?key=${key}`),
      await anyone(`/v1/jobs/${key}`, as(key)),
      await anyone(`/nothing/${mangled}`, { headers: { 'x-request-id': mangled } }),
      await anyone(`/hooks/runpod/${id}/1?token=${await tokenFor(id)}`, { method: 'POST' }),
    ]) {
      expect(response.status).toBeGreaterThanOrEqual(400);
    }

    // Read tokens for this job and for another job.
    const made = await ask(`/v1/jobs/${id}/tokens`, { method: 'POST' });
    const { token } = z.object({ token: z.string() }).parse(await made.json());
    secrets.keep('read token', token);
    expect((await anyone(`/v1/jobs/${id}`, as(token))).status).toBe(200);
    const watching = await anyone(`/v1/jobs/${id}/events?token=${token}`);
    expect(watching.status).toBe(200);
    await watching.body?.cancel();
    expect((await anyone(`/v1/jobs/${crypto.randomUUID()}/events?token=${token}`)).status).toBe(401);

    // `/run` first fails with an error that quotes the key, then succeeds. A worker reports, and one write to D1 fails.
    const harness = harnessOf(id);
    await until(async () => expect(await outbox(harness)).not.toContain('send:1'));
    const workerToken = secrets.keep('worker token', await tokenFor(id));
    const claim = crypto.randomUUID();
    const claimed = await workerCall(id, 'claim', { attempt: 1, claim, worker: { id: 'w', version: '1' } });
    expect(claimed.status).toBe(200);
    const order = z.object({ inputs: z.array(z.object({ url: z.url() })) }).parse(await claimed.json());
    const signature = new URL(order.inputs[0]?.url ?? '').searchParams.get('X-Amz-Signature');
    secrets.keep('signature of an input’s URL', signature ?? 'there was no signature');
    expect(
      (
        await workerCall(
          id,
          'claim',
          { attempt: 1, claim, worker: { id: 'w', version: '1' } },
          { token: `${workerToken.slice(0, -1)}_` },
        )
      ).status,
    ).toBe(401);
    const error = { code: 'execution_error', message: 'it broke', at: 'workflow', retryable: false };
    const report = { attempt: 1, claim, last_seq: 0, outcome: 'failed', error };
    const prepare = env.DB.prepare.bind(env.DB);
    const brokenD1 = vi.spyOn(env.DB, 'prepare').mockImplementation((sql) => {
      if (sql.includes('INSERT INTO jobs')) {
        throw new Error(`D1 is away: Bearer ${key} at https://d1.test/?q=${query}`);
      }
      return prepare(sql);
    });
    expect((await workerCall(id, 'complete', report)).status).toBe(200);
    await until(() => expect(events()).toContain('effect_failed'));
    brokenD1.mockRestore();
    await until(async () => expect((await outbox(harness)).every((each) => each.startsWith('notify:'))).toBe(true));
    await until(async () => {
      await runAlarm(harness);
      await drained(harness);
    });

    // The gateway throws an error that quotes its input.
    const app = ownGateway({ log: consoleLog });
    const DB = new Proxy(env.DB, {
      get: () => () => {
        throw new Error(`no such thing: ${key} ${workerToken} https://u:${password}@files.acme.com/?sig=${query}`);
      },
    });
    const list = new Request(`${ORIGIN}/v1/keys`, as(ADMIN_TOKEN));
    expect((await app.fetch(list, { ...env, DB })).status).toBe(500);

    const log = await hook.log();
    expect(log.data.length).toBeGreaterThan(0);
    const deliveries = await Promise.all(log.data.map((delivery) => hook.delivery(delivery.id)));

    expect(responses.flatMap((text) => secrets.in(text))).toEqual([]);
    expect(deliveries.flatMap((delivery) => secrets.in(JSON.stringify(delivery)))).toEqual([]);
    expect(events()).toEqual(expect.arrayContaining(['request', 'effect_failed', 'uncaught']));
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.some((line) => line.includes(account))).toBe(true);
    expect(lines.flatMap((line) => secrets.in(line).map((name) => `${name} in a line of ${eventOf(line)}`))).toEqual(
      [],
    );
  });

  it('is found by this test in every encoding', () => {
    const secrets = new Secrets();
    const value = secrets.keep('canary', 'a canary/with+signs & "quotes"');
    for (const form of [...formsOf(value), btoa(`${value} and more`)]) {
      expect(secrets.in(`before ${form} after`)).toEqual(['canary']);
    }
    expect(secrets.in('a canary')).toEqual([]);
  });
});

const eventOf = (line: string): string => /"event":"(\w+)"/.exec(line)?.[1] ?? 'no event';
