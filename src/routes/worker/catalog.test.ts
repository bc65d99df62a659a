import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { forgetCatalogs, CATALOG_LIFE_MS } from '../../services/endpoints/node-catalog.ts';
import { catalogHash } from '../../storage/r2/catalog.ts';
import { ADMIN_TOKEN, GRAPH, newClient, postJson, problemOf, type Call } from '../../testing/gateway.ts';
import {
  createClaimedJob,
  createJob,
  fakeRunpod,
  frozenClock,
  drained,
  WORKER,
  type JobHarness,
} from '../../testing/job.ts';
import { as } from '../../testing/keys.ts';
import { dryRunSchema } from '../v1/schemas.ts';
import { answerOf, workerCall } from '../../testing/worker-calls.ts';

/**
 * Catalogues of node classes: who may set one, which jobs it rejects, and how a wrong one ends (docs/decisions/0009).
 */

const ENDPOINT = 'narrow';
const CLASSES = ['EmptyImage', 'SaveImage'];
/** The catalogue of a worker that failed to load its nodes. */
const WRONG = ['PreviewImage'];

type Claimed = JobHarness & { claim: string };

const send = (harness: JobHarness, claim: string, classes: string[], attempt = 1): Promise<Response> =>
  workerCall(harness.id, 'catalog', { attempt, claim, classes }, { method: 'PUT', attempt });

/** Claims a new job of the endpoint as a worker. Returns whether the gateway asks for its catalogue. */
async function claimWith(classes: string[] | null): Promise<{ harness: Claimed; wanted: unknown }> {
  const harness = await createJob({ endpoint: ENDPOINT });
  await drained(harness);
  const claim = crypto.randomUUID();
  const catalog = classes === null ? null : await catalogHash(classes);
  const answer = await answerOf(await workerCall(harness.id, 'claim', { attempt: 1, claim, worker: WORKER, catalog }));
  expect(answer.status).toBe(200);
  return { harness: Object.assign(harness, { claim }), wanted: Object(answer.body).catalog_wanted };
}

/** Reports these classes as a worker of the endpoint. */
async function reported(classes: string[]): Promise<void> {
  const { harness } = await claimWith(null);
  expect((await send(harness, harness.claim, classes)).status).toBe(204);
}

/** Submits a graph with EmptyImage and SaveImage. Returns the status, or the code of the problem. */
async function submit(call: Call): Promise<number | string> {
  const answer = await call('/v1/jobs/dry-run', postJson({ workflow: GRAPH, endpoint: ENDPOINT }));
  return answer.status === 422 ? (await problemOf(answer)).code : answer.status;
}

describe('the facts of a catalogue', () => {
  const nodes = {
    EmptyImage: { required: ['width', 'height', 'batch_size', 'color', 'alpha'] },
    SaveImage: { output: true, required: ['images'] },
  };
  const warnings = async (call: Call): Promise<string[]> => {
    const body = postJson({ workflow: GRAPH, endpoint: ENDPOINT });
    const run = dryRunSchema.parse(await (await call('/v1/jobs/dry-run', body)).json());
    return run.resolved.warnings.map(({ code, node, input }) => `${code} ${node}.${input}`);
  };
  const report = async (facts: unknown): Promise<number> => {
    const { harness } = await claimWith(null);
    const body = { attempt: 1, claim: harness.claim, classes: CLASSES, nodes: facts };
    return (await workerCall(harness.id, 'catalog', body, { method: 'PUT', attempt: 1 })).status;
  };

  it('appear in a dry run, and are kept when a catalogue without facts has the same classes', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    expect(await report(nodes)).toBe(204);
    expect(await warnings(call)).toEqual(['input_missing 1.alpha']);
    clock.pass(600_000);
    await reported(CLASSES);
    expect(await warnings(call)).toEqual(['input_missing 1.alpha']);
    await reported([...CLASSES, 'Another']);
    expect(await warnings(call)).toEqual([]);
  });

  it('are ignored when they have another form', async () => {
    fakeRunpod();
    const { call } = await newClient();
    expect(await report({ EmptyImage: { required: 'alpha' } })).toBe(204);
    expect(await submit(call)).toBe(200);
    expect(await warnings(call)).toEqual([]);
  });
});

describe('sending a catalogue', () => {
  it('stores it for the endpoint of the claimed attempt', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await reported(WRONG);
    expect(await submit(call)).toBe('unknown_node');
    await reported(CLASSES);
    expect(await submit(call)).toBe(200);
  });

  it('writes nothing when the same catalogue was just stored', async () => {
    fakeRunpod();
    frozenClock();
    await reported(CLASSES);
    const writes = vi.spyOn(env.BUCKET, 'put');
    onTestFinished(() => writes.mockRestore());
    await reported(CLASSES);
    expect(writes).not.toHaveBeenCalled();
  });

  it('is rejected while the attempt is not claimed', async () => {
    fakeRunpod();
    const harness = await createJob({ endpoint: ENDPOINT });
    expect(await answerOf(await send(harness, crypto.randomUUID(), WRONG))).toMatchObject({
      status: 410,
      body: { code: 'job_over' },
    });
  });

  it('is rejected with another claim than the granted one', async () => {
    fakeRunpod();
    const harness = await createClaimedJob({ endpoint: ENDPOINT });
    expect(await answerOf(await send(harness, crypto.randomUUID(), WRONG))).toMatchObject({
      status: 409,
      body: { code: 'claimed_elsewhere' },
    });
  });

  it('is rejected without a claim', async () => {
    fakeRunpod();
    const harness = await createClaimedJob({ endpoint: ENDPOINT });
    const answer = await workerCall(harness.id, 'catalog', { attempt: 1, classes: WRONG }, { method: 'PUT' });
    expect(await answerOf(answer)).toMatchObject({ status: 422, body: { code: 'invalid_request' } });
  });

  it('is rejected from an attempt that has ended', async () => {
    fakeRunpod();
    const harness = await createClaimedJob({ endpoint: ENDPOINT });
    await workerCall(harness.id, 'complete', { attempt: 1, claim: harness.claim, last_seq: 0, outcome: 'succeeded' });
    expect((await send(harness, harness.claim, WRONG)).status).toBe(410);
  });
});

describe('a claim', () => {
  it('asks for a catalogue that differs from the stored one', async () => {
    fakeRunpod();
    await reported(WRONG);
    expect(await claimWith(CLASSES)).toMatchObject({ wanted: true });
  });

  it('does not ask for a catalogue that was just stored', async () => {
    fakeRunpod();
    await reported(CLASSES);
    expect(await claimWith(CLASSES)).toMatchObject({ wanted: false });
  });

  it('asks for the same catalogue again after ten minutes', async () => {
    fakeRunpod();
    const clock = frozenClock();
    await reported(CLASSES);
    clock.pass(600_000);
    expect(await claimWith(CLASSES)).toMatchObject({ wanted: true });
  });

  it('asks a worker that does not know its hash yet', async () => {
    fakeRunpod();
    await reported(CLASSES);
    expect(await claimWith(null)).toMatchObject({ wanted: true });
  });
});

describe('a wrong catalogue', () => {
  it('rejects nothing after no worker has confirmed it for CATALOG_LIFE_MS', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    await reported(WRONG);
    clock.pass(CATALOG_LIFE_MS - 1);
    expect(await submit(call)).toBe('unknown_node');
    clock.pass(1);
    expect(await submit(call)).toBe(200);
  });

  it('rejects nothing when it was stored without a time', async () => {
    const { call } = await newClient();
    await env.BUCKET.put(`catalogs/${ENDPOINT}.json`, JSON.stringify({ classes: WRONG }), {
      customMetadata: { hash: await catalogHash(WRONG) },
    });
    forgetCatalogs();
    expect(await submit(call)).toBe(200);
  });
});

describe('a debug report', () => {
  const operator = as(ADMIN_TOKEN);
  const debug = async (catalog: unknown): Promise<unknown> => {
    const runpod = fakeRunpod();
    runpod.answer.status = () => Response.json({ id: 'r', status: 'COMPLETED', output: { log: ['a'], catalog } });
    const answer = await operator(`/v1/endpoints/${ENDPOINT}/debug`);
    expect(answer.status).toBe(200);
    return answer.json();
  };

  it('replaces the catalogue, and the answer does not contain it', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await reported(WRONG);
    expect(await submit(call)).toBe('unknown_node');
    const catalog = { comfyui_version: '0.33.0', hash: await catalogHash(CLASSES), classes: CLASSES };
    expect(await debug(catalog)).toEqual({ log: ['a'] });
    expect(await submit(call)).toBe(200);
  });

  it('does not store a truncated catalogue', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await reported(CLASSES);
    await debug({ comfyui_version: '0.33.0', hash: await catalogHash(CLASSES), classes: ['EmptyImage'] });
    expect(await submit(call)).toBe(200);
  });
});
