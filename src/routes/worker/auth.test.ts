import { describe, expect, it } from 'vitest';
import { anyone } from '../../testing/gateway.ts';
import { createClaimedJob, fakeRunpod, newId, WORKER, type JobHarness } from '../../testing/job.ts';
import { answerOf, tokenFor, workerCall } from '../../testing/worker-calls.ts';

type Claimed = JobHarness & { claim: string };

/** Every call of the contract, in a valid form for a worker with the right token. */
const CALLS: Record<string, (harness: Claimed, token: string | null) => Promise<Response>> = {
  claim: (harness, token) =>
    workerCall(harness.id, 'claim', { attempt: 1, claim: harness.claim, worker: WORKER }, { token }),
  uploads: (harness, token) =>
    workerCall(
      harness.id,
      'uploads',
      {
        attempt: 1,
        claim: harness.claim,
        files: [{ name: 'a', size_bytes: 1, sha256: 'a'.repeat(64), content_type: 'image/png' }],
      },
      { token },
    ),
  finish: (harness, token) =>
    workerCall(
      harness.id,
      'uploads/finish',
      { attempt: 1, claim: harness.claim, key: 'k', upload_id: 'u', parts: [{ number: 1, etag: 'e' }] },
      { token },
    ),
  catalog: (harness, token) =>
    workerCall(harness.id, 'catalog', { attempt: 1, claim: harness.claim, classes: ['A'] }, { token, method: 'PUT' }),
  channel: (harness, token) =>
    anyone(`/worker/jobs/${harness.id}/channel?attempt=1&claim=${harness.claim}`, {
      headers: { upgrade: 'websocket', ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    }),
  complete: (harness, token) =>
    workerCall(
      harness.id,
      'complete',
      { attempt: 1, claim: harness.claim, last_seq: 0, outcome: 'canceled' },
      { token },
    ),
};

const flipped = (token: string): string => `${token.slice(0, -5)}${token.at(-5) === 'A' ? 'B' : 'A'}${token.slice(-4)}`;

const WRONG: [string, (harness: Claimed) => Promise<string | null>][] = [
  ['no token', () => Promise.resolve(null)],
  ['a word', () => Promise.resolve('token')],
  ['an altered token', async (harness) => flipped(await tokenFor(harness.id))],
  ['an expired token', (harness) => tokenFor(harness.id, 1, {}, Date.now() - 1_001)],
  ["another job's token", () => tokenFor(newId())],
  ["another attempt's token", (harness) => tokenFor(harness.id, 2)],
  ["the webhook's token", (harness) => tokenFor(harness.id, 1, { purpose: 'webhook' })],
];

describe.each(Object.entries(CALLS))('%s', (name, call) => {
  it.each(WRONG)('rejects a request with %s and does nothing', async (_what, token) => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const before = await harness.stub.view('acc');
    const answer = await call(harness, await token(harness));
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(await answerOf(answer)).toMatchObject({ status: 401, body: { code: 'invalid_token', status: 401 } });
    expect(await harness.stub.view('acc')).toEqual(before);
  });

  it('accepts a request with its own token', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const answer = await call(harness, await tokenFor(harness.id));
    // `finish` names an upload that R2 does not know, so it fails only after authentication.
    expect(answer.status).toBe(name === 'channel' ? 101 : name === 'finish' ? 409 : name === 'catalog' ? 204 : 200);
    answer.webSocket?.accept();
    answer.webSocket?.close();
    await answer.body?.cancel();
  });
});

it('the worker routes reject a token in another scheme', async () => {
  fakeRunpod();
  const harness = await createClaimedJob();
  const response = await anyone(`/worker/jobs/${harness.id}/claim`, {
    method: 'POST',
    headers: { authorization: `Basic ${await tokenFor(harness.id)}` },
    body: '{}',
  });
  expect(response.status).toBe(401);
});

it('the worker routes reject a missing token before they parse the body', async () => {
  fakeRunpod();
  const harness = await createClaimedJob();
  expect((await workerCall(harness.id, 'claim', 'no json', { token: null })).status).toBe(401);
});

it.each(['not-a-uuid', '0192F0C1-0000-7000-8000-000000000000', '00000000-0000-4000-8000-000000000000'])(
  'an id that is none of ours reaches no object: %s',
  async (id) => {
    const answer = await workerCall(id, 'claim', { attempt: 1, claim: crypto.randomUUID(), worker: WORKER });
    expect(answer.status).toBe(401);
  },
);
