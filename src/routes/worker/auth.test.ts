import { describe, expect, it } from 'vitest';
import { anyone } from '../../testing/gateway.ts';
import { claimed, fakeRunpod, newId, WORKER, type Rig } from '../../testing/job.ts';
import { answerOf, tokenFor, workerCall } from '../../testing/worker-calls.ts';

type Claimed = Rig & { claim: string };

/** Every call of the contract, in a valid form for a worker with the right token. */
const CALLS: Record<string, (rig: Claimed, token: string | null) => Promise<Response>> = {
  claim: (rig, token) => workerCall(rig.id, 'claim', { attempt: 1, claim: rig.claim, worker: WORKER }, { token }),
  uploads: (rig, token) =>
    workerCall(
      rig.id,
      'uploads',
      {
        attempt: 1,
        claim: rig.claim,
        files: [{ name: 'a', size_bytes: 1, sha256: 'a'.repeat(64), content_type: 'image/png' }],
      },
      { token },
    ),
  finish: (rig, token) =>
    workerCall(
      rig.id,
      'uploads/finish',
      { attempt: 1, claim: rig.claim, key: 'k', upload_id: 'u', parts: [{ number: 1, etag: 'e' }] },
      { token },
    ),
  catalog: (rig, token) =>
    workerCall(rig.id, 'catalog', { attempt: 1, claim: rig.claim, classes: ['A'] }, { token, method: 'PUT' }),
  channel: (rig, token) =>
    anyone(`/worker/jobs/${rig.id}/channel?attempt=1&claim=${rig.claim}`, {
      headers: { upgrade: 'websocket', ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    }),
  complete: (rig, token) =>
    workerCall(rig.id, 'complete', { attempt: 1, claim: rig.claim, last_seq: 0, outcome: 'canceled' }, { token }),
};

const flipped = (token: string): string => `${token.slice(0, -5)}${token.at(-5) === 'A' ? 'B' : 'A'}${token.slice(-4)}`;

const WRONG: [string, (rig: Claimed) => Promise<string | null>][] = [
  ['no token', () => Promise.resolve(null)],
  ['a word', () => Promise.resolve('token')],
  ['an altered token', async (rig) => flipped(await tokenFor(rig.id))],
  ['an expired token', (rig) => tokenFor(rig.id, 1, {}, Date.now() - 1_001)],
  ["another job's token", () => tokenFor(newId())],
  ["another attempt's token", (rig) => tokenFor(rig.id, 2)],
  ["the webhook's token", (rig) => tokenFor(rig.id, 1, { purpose: 'webhook' })],
];

describe.each(Object.entries(CALLS))('%s', (name, call) => {
  it.each(WRONG)('rejects a request with %s and does nothing', async (_what, token) => {
    fakeRunpod();
    const rig = await claimed();
    const before = await rig.stub.view('acc');
    const answer = await call(rig, await token(rig));
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(await answerOf(answer)).toMatchObject({ status: 401, body: { code: 'invalid_token', status: 401 } });
    expect(await rig.stub.view('acc')).toEqual(before);
  });

  it('accepts a request with its own token', async () => {
    fakeRunpod();
    const rig = await claimed();
    const answer = await call(rig, await tokenFor(rig.id));
    // `finish` names an upload that R2 does not know, so it fails only after authentication.
    expect(answer.status).toBe(name === 'channel' ? 101 : name === 'finish' ? 409 : name === 'catalog' ? 204 : 200);
    answer.webSocket?.accept();
    answer.webSocket?.close();
    await answer.body?.cancel();
  });
});

it('the worker routes reject a token in another scheme', async () => {
  fakeRunpod();
  const rig = await claimed();
  const response = await anyone(`/worker/jobs/${rig.id}/claim`, {
    method: 'POST',
    headers: { authorization: `Basic ${await tokenFor(rig.id)}` },
    body: '{}',
  });
  expect(response.status).toBe(401);
});

it('the worker routes reject a missing token before they parse the body', async () => {
  fakeRunpod();
  const rig = await claimed();
  expect((await workerCall(rig.id, 'claim', 'no json', { token: null })).status).toBe(401);
});

it.each(['not-a-uuid', '0192F0C1-0000-7000-8000-000000000000', '00000000-0000-4000-8000-000000000000'])(
  'an id that is none of ours reaches no object: %s',
  async (id) => {
    const answer = await workerCall(id, 'claim', { attempt: 1, claim: crypto.randomUUID(), worker: WORKER });
    expect(answer.status).toBe(401);
  },
);
