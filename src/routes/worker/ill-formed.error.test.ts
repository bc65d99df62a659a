import { expect, it } from 'vitest';
import { answerRunpod, newClient, submitted } from '../../testing/gateway.ts';
import { connected, dialChannel, harnessOf, drained, WORKER } from '../../testing/job.ts';
import { answerOf, workerCall } from '../../testing/worker-calls.ts';

/**
 * JSON may contain an escaped lone surrogate, which UTF-8 cannot encode. Python writes a byte of a file name that is
 * not UTF-8 in this form. The worker sends U+FFFD instead, but an older worker does not. It must not cause an error,
 * and only this character is replaced.
 */
const HALF = 'caf\udce9.png';
const WHOLE = 'caf\ufffd.png';
const text = (name: string, node_id: string) => ({
  name,
  node_id,
  class_type: HALF,
  type: 'text',
  content_type: 'text/plain; charset=utf-8',
  size_bytes: 9,
  sha256: 'a'.repeat(64),
  key: null,
  text: HALF,
  temp: false,
});

async function claimedBy(outputs: unknown[], outcome: string, error: unknown) {
  answerRunpod();
  const { call } = await newClient();
  const { id } = await submitted(call);
  await drained(harnessOf(id));
  const claim = crypto.randomUUID();
  const worker = { ...WORKER, gpu: HALF, comfyui_version: HALF };
  expect((await workerCall(id, 'claim', { attempt: 1, claim, worker })).status).toBe(200);
  const channel = await connected(dialChannel(harnessOf(id), 1, claim));
  await channel.next();
  const lines = [
    { type: 'stage', stage: 'models', message: HALF },
    {
      type: 'progress',
      value: 0.5,
      nodes_done: 0,
      nodes_total: 1,
      current_node: HALF,
      nodes: { [HALF]: { state: HALF } },
    },
    { type: 'log', level: 'info', message: HALF },
    ...outputs.map((output) => ({ type: 'output', output })),
  ];
  for (const [at, line] of lines.entries()) {
    channel.say({ seq: at + 1, ...line });
  }
  const report = { attempt: 1, claim, last_seq: lines.length, outcome, outputs, error, timings: { [HALF]: 1 } };
  const answer = await answerOf(await workerCall(id, 'complete', { ...report, worker, ran_with: { models: [] } }));
  await drained(harnessOf(id));
  return { id, call, answer };
}

it('a lone surrogate in an error becomes U+FFFD in every response that shows the job', async () => {
  const error = { code: 'execution_error', message: HALF, at: 'workflow', retryable: false };
  const node = { id: HALF, class_type: HALF };
  const { id, call, answer } = await claimedBy([], 'failed', { ...error, node, details: { [HALF]: [HALF] } });
  expect(answer).toEqual({ status: 200, body: { status: 'failed' } });
  for (const path of [`/v1/jobs/${id}`, `/v1/jobs/${id}/events`, `/v1/jobs?limit=1`, `/v1/usage?group_by=job`]) {
    const response = await call(path, { headers: { accept: 'application/json, text/event-stream' } });
    expect([path, response.status]).toEqual([path, 200]);
    const shown = await response.text();
    expect(shown).not.toContain('\\udce9');
  }
  expect(await (await call(`/v1/jobs/${id}`)).json()).toMatchObject({ error: { message: WHOLE, node: { id: WHOLE } } });
});

it('a lone surrogate in an output does not prevent success', async () => {
  const { id, call, answer } = await claimedBy([text('2.txt', HALF)], 'succeeded', null);
  expect(answer).toEqual({ status: 200, body: { status: 'succeeded' } });
  expect(await (await call(`/v1/jobs/${id}`)).json()).toMatchObject({ outputs: [{ name: '2.txt', text: WHOLE }] });
});

it('a lone surrogate in the name of an output becomes U+FFFD', async () => {
  const { id, call, answer } = await claimedBy([text(HALF, '2')], 'succeeded', null);
  expect(answer).toEqual({ status: 200, body: { status: 'succeeded' } });
  expect(await (await call(`/v1/jobs/${id}`)).json()).toMatchObject({ outputs: [{ name: WHOLE }] });
});
