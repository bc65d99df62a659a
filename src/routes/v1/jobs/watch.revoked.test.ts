import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { postJson, problemOf, submitted, type Call } from '../../../testing/gateway.ts';
import { madeKey, ownApp } from '../../../testing/keys.ts';
import { fakeRunpod } from '../../../testing/job.ts';
import { KEEPALIVE_MS } from '../../http/sse.ts';

/** What the gateway promises: docs/guides/keys.md. */
const REVOKED_EVERYWHERE_MS = 30_000;

/** Time as the gateway sees it, for keys and keep-alives alike. */
function movedClock(): { now: () => number; pass: (ms: number) => void } {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  let now = Date.now();
  return {
    now: () => now,
    pass: (ms) => {
      for (let passed = 0; passed < ms; passed += KEEPALIVE_MS) {
        now += KEEPALIVE_MS;
        vi.advanceTimersByTime(KEEPALIVE_MS);
      }
    },
  };
}

/** A job that runs, and a key of its account, in a gateway whose time is the test's. */
async function running() {
  fakeRunpod();
  const clock = movedClock();
  const account = `a${crypto.randomUUID()}`;
  const made = await madeKey(account);
  const app = ownApp({ clock: clock.now });
  const { id } = await submitted(app(made.key));
  return { clock, made, app, id, call: app(made.key), events: `/v1/jobs/${id}/events` };
}

/** The stream once it has begun, with all that came until its end. */
async function begun(call: Call, events: string): Promise<{ rest: Promise<string> }> {
  const response = await call(events);
  expect(response.status).toBe(200);
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) {
    throw new Error('no stream');
  }
  let text = '';
  while (!text.includes('event: snapshot')) {
    text += (await reader.read()).value ?? '';
  }
  const rest = (async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return text;
      }
      text += value;
    }
  })();
  return { rest };
}

const revoke = (id: string, at: number) =>
  // Another isolate writes to the database; this one hears nothing of it.
  env.DB.prepare('UPDATE keys SET revoked_at = ? WHERE id = ?').bind(at, id).run();

describe('an open stream', () => {
  it('ends within 30 s of the revocation of its key and does not resume', async () => {
    const { clock, made, call, events } = await running();
    const { rest } = await begun(call, events);
    await revoke(made.id, clock.now());
    clock.pass(REVOKED_EVERYWHERE_MS);
    expect((await rest).match(/^event: .*$/gm)).toEqual(['event: snapshot']);
    expect((await problemOf(await call(events, { headers: { 'last-event-id': '1' } }))).code).toBe('unauthorized');
  });

  it('ends when its key loses the scope', async () => {
    const { clock, made, call, events } = await running();
    const { rest } = await begun(call, events);
    await env.DB.prepare(`UPDATE keys SET scopes = '["jobs:write"]' WHERE id = ?`).bind(made.id).run();
    clock.pass(REVOKED_EVERYWHERE_MS);
    await rest;
    expect((await problemOf(await call(events))).code).toBe('insufficient_scope');
  });

  it('ends with its read token and with the key of the token', async () => {
    const { clock, made, call, app, id, events } = await running();
    const tokenOf = async (expires_in: number): Promise<string> => {
      const response = await call(`/v1/jobs/${id}/tokens`, postJson({ expires_in }));
      return z.object({ token: z.string() }).parse(await response.json()).token;
    };
    const [short, long] = [await tokenOf(60), await tokenOf(600)];
    const [first, second] = [await begun(app(short), events), await begun(app(long), events)];
    clock.pass(60_000 + KEEPALIVE_MS);
    await first.rest;
    expect((await problemOf(await app(short)(events))).code).toBe('unauthorized');

    await revoke(made.id, clock.now());
    clock.pass(REVOKED_EVERYWHERE_MS);
    await second.rest;
    expect((await problemOf(await app(long)(events))).code).toBe('unauthorized');
  });

  it('continues while its key is valid, and while the check fails', async () => {
    const { clock, call, app, made, events, id } = await running();
    const [one, other] = [await begun(call, events), await begun(app(made.key), events)];
    const broken = vi.spyOn(env.DB, 'prepare').mockImplementation(() => {
      throw new Error('Network connection lost.');
    });
    clock.pass(REVOKED_EVERYWHERE_MS * 2);
    await vi.waitFor(() => expect(broken).toHaveBeenCalled());
    broken.mockRestore();
    clock.pass(REVOKED_EVERYWHERE_MS * 2);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    for (const { rest } of [one, other]) {
      expect(await rest).toContain('"status":"canceled"');
    }
  });
});

describe('a long poll', () => {
  it('returns no job when its key was revoked meanwhile', async () => {
    const { clock, made, call, id } = await running();
    const waiting = call(`/v1/jobs/${id}?wait=60`);
    await revoke(made.id, clock.now());
    clock.pass(REVOKED_EVERYWHERE_MS);
    const other = await madeKey(await accountOf(made.id));
    await other.call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect((await problemOf(await waiting)).code).toBe('unauthorized');
  });
});

const accountOf = async (key: string): Promise<string> =>
  (await env.DB.prepare('SELECT account FROM keys WHERE id = ?').bind(key).first<string>('account')) ?? '';
