import type { RequestInit, Response } from 'miniflare';
import { vi } from 'vitest';
import { z } from 'zod';
import { testBindings } from '../gateway-bindings.ts';
import { type MixedGateway, PNG, type Run } from './mixed-gateway.ts';

/**
 * One use of everything that the Worker and the objects say to each other: jobs from submit to erasure, their worker, assets, uploads,
 * webhooks, endpoints, limits and the sweep. Throws at the first answer that is not the one a gateway of one release gives.
 */

const GRAPH = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};
const SHA256 = 'a'.repeat(64);
/** Longest wait for one thing to happen; it only bounds a failure. */
const TIMEOUT_MS = 20_000;

const idSchema = z.object({ id: z.string() });
const jobSchema = z.object({ id: z.string(), status: z.string() });

const batchSchema = z.object({ accepted: z.literal(2), data: z.array(z.object({ job: jobSchema })) });
const waitingSchema = z.object({ stage: z.literal('admission'), queue_position: z.literal(1) });
/** What an Endpoint object that can be asked says. */
const endpointSchema = z.object({ breaker: z.object({ state: z.literal('closed') }) });

type Step = (method: string, path: string, status: number, body?: unknown, headers?: object) => Promise<unknown>;

export async function tour(gateway: MixedGateway): Promise<void> {
  const step =
    (credential: string): Step =>
    async (method: string, path: string, status: number, body?: unknown, headers = {}) => {
      const json = body === undefined || Buffer.isBuffer(body);
      const init: RequestInit = {
        method,
        headers: {
          authorization: `Bearer ${credential}`,
          ...(json ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
      };
      const answer = await gateway.call(path, init);
      const text = await answer.text();
      if (answer.status !== status) {
        throw new Error(`${method} ${path} answered ${answer.status} in place of ${status}: ${text}`);
      }
      if (credential !== testBindings.ADMIN_TOKEN && !answer.headers.has('ratelimit')) {
        throw new Error(`${method} ${path} says nothing of the account's limits`);
      }
      const parsed: unknown = text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text;
      return parsed;
    };
  const operator = step(testBindings.ADMIN_TOKEN);
  const made = await operator('POST', '/v1/keys', 201, { account: 'acme', environment: 'test', scopes: ['admin'] });
  const client = step(z.object({ key: z.string() }).parse(made).key);
  await operator('PUT', '/v1/accounts/acme/limits', 200, { jobs_in_flight: 50 });
  await operator('GET', '/v1/accounts/acme/limits', 200);

  const webhook = idSchema.parse(await client('POST', '/v1/webhooks', 201, { url: 'https://hooks.example.com/' })).id;
  await client('PATCH', `/v1/webhooks/${webhook}`, 200, { description: 'changed' });
  await client('POST', `/v1/webhooks/${webhook}/rotate`, 200, { overlap: 60 });
  await client('POST', `/v1/webhooks/${webhook}/ping`, 202);
  await client('GET', `/v1/webhooks/${webhook}`, 200);

  const asset = idSchema.parse(await client('POST', '/v1/assets', 201, PNG)).id;
  await client('GET', `/v1/assets/${asset}`, 200);
  await client('GET', '/v1/assets', 200);
  const upload = await client('POST', '/v1/uploads', 201, { size_bytes: 2_000_000, sha256: SHA256 });
  const uploadId = idSchema.parse(upload).id;
  await client('GET', `/v1/uploads/${uploadId}`, 200);
  await client('POST', `/v1/uploads/${uploadId}/complete`, 409);
  await client('DELETE', `/v1/uploads/${uploadId}`, 204);

  const body = { workflow: GRAPH, inputs: [{ name: 'a.png', asset }] };
  const key = { 'idempotency-key': 'one' };
  const { id } = idSchema.parse(await client('POST', '/v1/jobs', 201, body, key));
  const repeated = idSchema.parse(await client('POST', '/v1/jobs', 201, body, key));
  if (repeated.id !== id) {
    throw new Error('a repeated submit made another job');
  }
  const run = await runOf(gateway, id);
  await work(gateway, run);
  const job = jobSchema.parse(await client('GET', `/v1/jobs/${id}`, 200));
  if (job.status !== 'succeeded') {
    throw new Error(`the job is ${job.status}`);
  }
  await client('GET', `/v1/jobs/${id}/result`, 200);
  await client('GET', `/v1/jobs/${id}/outputs/a.txt`, 200);
  const events = z.string().parse(await client('GET', `/v1/jobs/${id}/events?after=0`, 200));
  for (const event of ['progress', 'output', 'succeeded']) {
    if (!events.includes(event)) {
      throw new Error(`the events lack "${event}": ${events}`);
    }
  }
  await vi.waitFor(
    () => {
      if (!gateway.delivered.some((each) => each.includes('job.succeeded') && each.includes(id))) {
        throw new Error('the webhook was not called');
      }
    },
    { timeout: TIMEOUT_MS },
  );
  const deliveries = await client('GET', `/v1/webhooks/${webhook}/deliveries`, 200);
  const [delivery] = z.object({ data: z.array(idSchema).min(1) }).parse(deliveries).data;
  await client('GET', `/v1/webhooks/${webhook}/deliveries/${delivery?.id}`, 200);
  await client('POST', `/v1/webhooks/${webhook}/deliveries/${delivery?.id}/redeliver`, 202);
  await client('POST', `/v1/webhooks/${webhook}/redeliver`, 202, { since: '2026-01-01T00:00:00Z', status: 'any' });

  const batch = await client('POST', '/v1/jobs/batch', 200, { jobs: [{ workflow: GRAPH }, { workflow: GRAPH }] });
  const [other = '', unused = ''] = batchSchema.parse(batch).data.map(({ job: { id: each } }) => each);
  await client('POST', `/v1/jobs/${unused}/cancel`, 200);
  const hooked = await runOf(gateway, other);
  await gateway.call(new URL(hooked.webhook).pathname + new URL(hooked.webhook).search, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id: 'run-2', status: 'IN_PROGRESS' }),
  });
  await client('POST', `/v1/jobs/${other}/cancel`, 200);
  await client('GET', `/v1/jobs/${other}?wait=20`, 200);
  await client('DELETE', `/v1/jobs/${id}`, 204);
  await client('GET', `/v1/jobs/${id}`, 404);
  await client('DELETE', `/v1/assets/${asset}`, 204);
  await queue(operator, client, gateway);
  const fetched = { workflow: GRAPH, inputs: [{ name: 'a.png', url: 'https://files.example.com/a.png' }] };
  await client('POST', '/v1/jobs', 201, fetched, { 'idempotency-key': 'two' });
  await client('POST', '/v1/jobs', 201, fetched, { 'idempotency-key': 'two' });
  await client('GET', '/v1/endpoints', 200);
  endpointSchema.parse(await client('GET', '/v1/endpoints/default', 200));
  await client('GET', '/v1/jobs', 200);
  await client('GET', '/v1/usage', 200);
  await gateway.sweep();
  await operator('GET', '/v1/metrics', 200);
  await client('DELETE', `/v1/webhooks/${webhook}`, 204);
}

/** An account that may run one job at a time: the second waits until the first has ended. */
async function queue(operator: Step, client: Step, gateway: MixedGateway): Promise<void> {
  await operator('PUT', '/v1/accounts/acme/limits', 200, { jobs_in_flight: 1 });
  const batch = await client('POST', '/v1/jobs/batch', 200, { jobs: [{ workflow: GRAPH }, { workflow: GRAPH }] });
  const [first, second] = batchSchema.parse(batch).data.map(({ job }) => job.id);
  waitingSchema.parse(await client('GET', `/v1/jobs/${second}`, 200));
  await client('POST', `/v1/jobs/${first}/cancel`, 200);
  await runOf(gateway, second ?? '');
  await client('POST', `/v1/jobs/${second}/cancel`, 200);
  await operator('PUT', '/v1/accounts/acme/limits', 200, { jobs_in_flight: 50 });
}

/** The run that RunPod was given for a job. */
function runOf(gateway: MixedGateway, job: string): Promise<Run> {
  return vi.waitFor(
    () => {
      const run = gateway.runs.find(({ ticket }) => ticket.job === job);
      if (run === undefined) {
        throw new Error('RunPod was not asked to run the job');
      }
      return run;
    },
    { timeout: TIMEOUT_MS },
  );
}

/** A worker's part (docs/reference/worker-contract.md): claim, an upload's link, the channel, the report. */
async function work(gateway: MixedGateway, { ticket: { job, attempt, token } }: Run): Promise<void> {
  const claim = '5f0f6c2e-7f55-4c39-9a35-0d1f8a0c2b11';
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const post = async (path: string, body: object): Promise<Response> => {
    const answer = await gateway.call(`/worker/jobs/${job}/${path}`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ attempt, claim, ...body }),
    });
    if (answer.status !== 200) {
      throw new Error(`the worker's ${path} was answered ${answer.status}: ${await answer.text()}`);
    }
    return answer;
  };
  await post('claim', { worker: { id: 'w1', version: 'test' }, catalog: null });
  const catalog = await gateway.call(`/worker/jobs/${job}/catalog`, {
    method: 'PUT',
    headers,
    body: JSON.stringify({
      attempt,
      claim,
      comfyui_version: 'test',
      classes: Object.values(GRAPH).map((each) => each.class_type),
    }),
  });
  if (catalog.status !== 204) {
    throw new Error(`the worker's catalogue was answered ${catalog.status}`);
  }
  await post('uploads', {
    files: [{ name: 'b.png', size_bytes: PNG.length, sha256: SHA256, content_type: 'image/png' }],
  });
  const { webSocket } = await gateway.call(`/worker/jobs/${job}/channel?attempt=${attempt}&claim=${claim}`, {
    headers: { ...headers, upgrade: 'websocket' },
  });
  if (webSocket === null) {
    throw new Error('the channel was not opened');
  }
  const acknowledged = new Promise<void>((resolve) => {
    webSocket.addEventListener('message', ({ data }) => {
      if (String(data).includes('"ack":3')) {
        resolve();
      }
    });
  });
  webSocket.accept();
  const output = {
    name: 'a.txt',
    node_id: '2',
    class_type: 'SaveText',
    type: 'text',
    content_type: 'text/plain; charset=utf-8',
    size_bytes: 2,
    sha256: SHA256,
    temp: false,
    key: null,
    text: 'hi',
  };
  webSocket.send(JSON.stringify({ seq: 1, type: 'progress', value: 0.5, nodes_done: 1, nodes_total: 2 }));
  webSocket.send(JSON.stringify({ seq: 2, type: 'output', output }));
  webSocket.send(JSON.stringify({ seq: 3, type: 'sync' }));
  await acknowledged;
  await post('complete', { last_seq: 3, outcome: 'succeeded', outputs: [output] });
  webSocket.close(1000);
}
