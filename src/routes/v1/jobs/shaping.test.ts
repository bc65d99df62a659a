import { createExecutionContext, listDurableObjectIds } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import {
  answerRunpod,
  newClient,
  ORIGIN,
  ownGateway,
  PNG,
  postJson,
  problemOf,
  storedOf,
} from '../../../testing/gateway.ts';
import { IMAGE_TO_IMAGE, SD15, WAN } from '../../../testing/graphs.ts';
import { dryRunSchema, jobSchema } from '../schemas.ts';

/** Shaping as clients meet it: bodies in, jobs, dry runs and problems out. */

const ENDPOINTS = {
  default: { runpod_id: 'ep1', environment: 'any' },
  small: {
    runpod_id: 'ep2',
    environment: 'any',
    limits: { max_pixels: 256 * 256, max_steps: 10, max_nodes: 8, on_limit: 'clamp' },
    nodes: { deny: ['LoadImage'] },
    price: { per_second: 0.0005, typical_seconds: 20 },
  },
};

/** A gateway with endpoints of its own; keys are shared with the usual one. */
async function gateway(): Promise<{ account: string; post: (path: string, body: unknown) => Promise<Response> }> {
  const { account, key } = await newClient();
  const app = ownGateway({ newSeed: () => 42 });
  const own = { ...env, ENDPOINTS: JSON.stringify(ENDPOINTS) };
  const post = async (path: string, body: unknown): Promise<Response> => {
    const request = new Request(ORIGIN + path, postJson(body));
    request.headers.set('authorization', `Bearer ${key}`);
    return app.fetch(request, own, createExecutionContext());
  };
  return { account, post };
}

describe('a dry run', () => {
  it('shows what would run, and stores, counts and sends nothing', async () => {
    const runpod = answerRunpod();
    const { account, post } = await gateway();
    const response = await post('/v1/jobs/dry-run', {
      workflow: WAN,
      variables: { VIDEO_PROMPT: 'a dog', INPUT_IMAGE: 'dog.png' },
      params: { '57': { cfg: 3 } },
      overrides: { width: 480, seed: 'random' },
      inputs: [
        { name: 'dog.png', data: PNG.toBase64() },
        { name: 'spare.png', data: PNG.toBase64() },
      ],
    });
    expect(response.status).toBe(200);
    const run = dryRunSchema.strict().parse(await response.json());
    expect(run.workflow['50']).toMatchObject({ inputs: { width: 480, height: 640 } });
    expect(run.workflow['57']).toMatchObject({ inputs: { cfg: 3, noise_seed: 42 } });
    expect(run.workflow['52']).toMatchObject({ inputs: { image: 'dog.png' } });
    expect(run.resolved.seeds).toContainEqual({ node: '58', input: 'noise_seed', value: 42, random: true });
    expect(run.inputs.map(({ name, used_by }) => ({ name, used_by }))).toEqual([
      { name: 'dog.png', used_by: ['52'] },
      { name: 'spare.png', used_by: [] },
    ]);
    expect(run).toMatchObject({ nodes: { count: 8, checked: false }, price: null, finish_within: 900 });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(await listDurableObjectIds(env.JOB)).toEqual([]);
    expect(runpod.calls).toEqual([]);
  });

  it('clamps values to the limits of the endpoint and shows the price', async () => {
    const { post } = await gateway();
    const body = { workflow: SD15, endpoint: 'small', finish_within: 60 };
    const run = dryRunSchema.parse(await (await post('/v1/jobs/dry-run', body)).json());
    expect(run.resolved.clamped).toContainEqual({ node: '3', input: 'steps', from: 20, to: 10, limit: 'max_steps' });
    expect(run.price).toEqual({
      currency: 'USD',
      per_second: 0.0005,
      estimated_seconds: 20,
      estimated: 0.01,
      at_most: 0.03,
    });
  });

  it('accepts digits as strings in overrides and writes numbers into the graph', async () => {
    const { post } = await gateway();
    const overrides = { seed: '-1', width: '640', height: { value: '0448', node: '5' }, steps: '7' };
    const run = dryRunSchema.parse(await (await post('/v1/jobs/dry-run', { workflow: SD15, overrides })).json());
    expect(run.workflow['5']).toMatchObject({ inputs: { width: 640, height: 448 } });
    expect(run.workflow['3']).toMatchObject({ inputs: { seed: 42, steps: 7 } });
    expect(run.resolved.seeds).toEqual([{ node: '3', input: 'seed', value: 42, random: true }]);
  });

  it('writes large integers digit by digit', async () => {
    const { post } = await gateway();
    const response = await post('/v1/jobs/dry-run', {
      workflow: SD15,
      overrides: { seed: '18446744073709551615' },
    });
    expect(await response.text()).toContain('"seed":18446744073709551615,');
  });
});

describe.each(['/v1/jobs', '/v1/jobs/dry-run'])('POST %s', (path) => {
  const refused: [title: string, body: Record<string, unknown>, code: string, at: string[]][] = [
    [
      'a class the endpoint denies',
      { workflow: IMAGE_TO_IMAGE, endpoint: 'small' },
      'node_not_allowed',
      ['#/workflow/1/class_type'],
    ],
    [
      'more nodes than the endpoint takes',
      { workflow: { ...WAN, x: SD15['9'] }, endpoint: 'small' },
      'workflow_too_large',
      ['#/workflow'],
    ],
    [
      'a path',
      { workflow: SD15, params: { '9': { filename_prefix: '../x' } } },
      'unsafe_input',
      ['#/params/9/filename_prefix'],
    ],
    [
      'a placeholder without a variable',
      { workflow: { a: WAN['6'], '38': WAN['38'] }, variables: {} },
      'variable_missing',
      ['#/workflow/a/inputs/text'],
    ],
    ['a variable without a placeholder', { workflow: SD15, variables: { x: 1 } }, 'variable_unused', ['#/variables/x']],
    ['a variable of a wrong type', { workflow: SD15, variables: { x: {} } }, 'invalid_value', ['#/variables/x']],
    ['a node that is not there', { workflow: SD15, params: { '77': {} } }, 'node_missing', ['#/params/77']],
    ['params that are not an object', { workflow: SD15, params: { '3': 1 } }, 'invalid_type', ['#/params/3']],
    ['an unknown override', { workflow: SD15, overrides: { cfg: 1 } }, 'unknown_field', ['#/overrides/cfg']],
    ...[1.5, 'x', '18446744073709551616', {}, { value: 1 }, { node: '3' }].map((seed): (typeof refused)[number] => [
      `the seed ${JSON.stringify(seed)}`,
      { workflow: SD15, overrides: { seed } },
      'invalid_value',
      ['#/overrides/seed'],
    ]),
    ...[0, -1, 16_385].map((width): (typeof refused)[number] => [
      `the width ${width}`,
      { workflow: SD15, overrides: { width } },
      'out_of_range',
      ['#/overrides/width'],
    ]),
    ['the seed -2', { workflow: SD15, overrides: { seed: -2 } }, 'out_of_range', ['#/overrides/seed']],
    ...['', '0', '16385', '512px', '-1', '5.5', null].map((width): (typeof refused)[number] => [
      `the width ${JSON.stringify(width)}`,
      { workflow: SD15, overrides: { width } },
      'invalid_value',
      ['#/overrides/width'],
    ]),
    [
      'an override for nothing',
      { workflow: SD15, overrides: { length: 5 } },
      'override_not_found',
      ['#/overrides/length'],
    ],
  ];

  it.each(refused)('refuses %s', async (_title, body, code, at) => {
    const runpod = answerRunpod();
    const { account, post } = await gateway();
    const seen = await problemOf(await post(path, body));
    expect({ code: seen.code, at: seen.errors?.map((error) => error.pointer) }).toEqual({ code, at });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(await listDurableObjectIds(env.JOB)).toEqual([]);
    expect(runpod.calls).toEqual([]);
  });
});

it('a job reports its random seeds and the places of its overrides', async () => {
  answerRunpod();
  const { post } = await gateway();
  const response = await post('/v1/jobs', { workflow: SD15, overrides: { seed: -1, prompt: 'a secret' } });
  expect(response.status).toBe(201);
  const text = await response.text();
  expect(text).not.toContain('a secret');
  expect(jobSchema.parse(JSON.parse(text)).resolved).toEqual({
    seeds: [{ node: '3', input: 'seed', value: 42, random: true }],
    overrides: [
      { field: 'prompt', node: '6', input: 'text' },
      { field: 'seed', node: '3', input: 'seed' },
    ],
    clamped: [],
    warnings: [],
  });
});
