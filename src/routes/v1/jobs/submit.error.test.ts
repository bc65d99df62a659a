import { env } from 'cloudflare:workers';
import { listDurableObjectIds } from 'cloudflare:test';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  answerRunpod,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  storedOf,
  type Call,
} from '../../../testing/gateway.ts';
import { requireConfig } from '../../../config/schema.ts';
import { writeCatalog } from '../../../storage/r2/catalog.ts';
import { DRAIN_BYTES } from '../../http/drain.ts';

/** Bad bodies, and for each the status, the code of the problem, and where in the body the issues are. */

const A_PNG = PNG.toBase64();
const NO_ASSET = `sha256:${'0'.repeat(64)}`;
const node = (inputs: Record<string, unknown>, class_type = 'EmptyImage') => ({ class_type, inputs });
const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));

type Bad = { title: string; body: unknown; status: number; code: string; at: string[] };

const SHAPE: Bad[] = [
  { title: 'a list', body: [], status: 422, code: 'invalid_type', at: ['#'] },
  { title: 'null', body: null, status: 422, code: 'invalid_type', at: ['#'] },
  { title: 'a number', body: 7, status: 422, code: 'invalid_type', at: ['#'] },
  { title: 'no workflow', body: {}, status: 422, code: 'required', at: ['#/workflow'] },
  {
    title: 'an unknown field',
    body: { workflow: GRAPH, prompt: 1 },
    status: 422,
    code: 'unknown_field',
    at: ['#/prompt'],
  },
  {
    title: 'unknown fields below the top',
    body: { workflow: GRAPH, options: { preview: true }, inputs: [{ name: 'a', data: A_PNG, link: 'x' }] },
    status: 422,
    code: 'unknown_field',
    at: ['#/inputs/0/link', '#/options/preview'],
  },
  {
    title: 'inputs that are not a list',
    body: { workflow: GRAPH, inputs: {} },
    status: 422,
    code: 'invalid_type',
    at: ['#/inputs'],
  },
  {
    title: 'a name that is a number',
    body: { workflow: GRAPH, inputs: [{ name: 1, data: A_PNG }] },
    status: 422,
    code: 'invalid_type',
    at: ['#/inputs/0/name'],
  },
  {
    title: 'metadata that is not a string',
    body: { workflow: GRAPH, metadata: { a: 1 } },
    status: 422,
    code: 'invalid_type',
    at: ['#/metadata/a'],
  },
  {
    title: 'a long metadata value',
    body: { workflow: GRAPH, metadata: { a: 'x'.repeat(513) } },
    status: 422,
    code: 'out_of_range',
    at: ['#/metadata/a'],
  },
  {
    title: 'a long metadata key',
    body: { workflow: GRAPH, metadata: { ['k'.repeat(65)]: '' } },
    status: 422,
    code: 'invalid_value',
    at: [`#/metadata/${'k'.repeat(65)}`],
  },
  {
    title: 'too many metadata pairs',
    body: { workflow: GRAPH, metadata: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`k${at}`, ''])) },
    status: 422,
    code: 'out_of_range',
    at: ['#/metadata'],
  },
  {
    title: 'an option that is not a boolean',
    body: { workflow: GRAPH, options: { previews: 'yes' } },
    status: 422,
    code: 'invalid_type',
    at: ['#/options/previews'],
  },
  {
    title: 'no time at all',
    body: { workflow: GRAPH, finish_within: 0 },
    status: 422,
    code: 'out_of_range',
    at: ['#/finish_within'],
  },
  {
    title: 'negative time',
    body: { workflow: GRAPH, finish_within: -1 },
    status: 422,
    code: 'out_of_range',
    at: ['#/finish_within'],
  },
  {
    title: 'more time than a job may have',
    body: { workflow: GRAPH, finish_within: 86_401 },
    status: 422,
    code: 'out_of_range',
    at: ['#/finish_within'],
  },
  {
    title: 'time as text',
    body: { workflow: GRAPH, finish_within: '60' },
    status: 422,
    code: 'invalid_type',
    at: ['#/finish_within'],
  },
  {
    title: 'an endpoint that is not configured',
    body: { workflow: GRAPH, endpoint: 'nope' },
    status: 422,
    code: 'unknown_endpoint',
    at: ['#/endpoint'],
  },
  {
    title: 'an endpoint named like a property',
    body: { workflow: GRAPH, endpoint: 'constructor' },
    status: 422,
    code: 'unknown_endpoint',
    at: ['#/endpoint'],
  },
  {
    title: 'half of a surrogate pair',
    body: { workflow: GRAPH, metadata: { a: '\ud800' } },
    status: 422,
    code: 'invalid_value',
    at: ['#/metadata/a'],
  },
  {
    title: 'nesting without end',
    body: { workflow: { '1': node({ x: nested(80) }) } },
    status: 422,
    code: 'out_of_range',
    at: ['#'],
  },
];

const WORKFLOW: Bad[] = [
  { title: 'a workflow that is text', body: { workflow: '{}' }, status: 422, code: 'invalid_type', at: ['#/workflow'] },
  { title: 'a workflow that is a list', body: { workflow: [] }, status: 422, code: 'invalid_type', at: ['#/workflow'] },
  { title: 'an empty graph', body: { workflow: {} }, status: 422, code: 'workflow_empty', at: ['#/workflow'] },
  {
    title: 'the format of the editor',
    body: { workflow: { last_node_id: 2, nodes: [{ id: 1, type: 'EmptyImage' }], links: [], version: 0.4 } },
    status: 422,
    code: 'workflow_format_ui',
    at: ['#/workflow'],
  },
  {
    title: 'a node that is null',
    body: { workflow: { '1': null } },
    status: 422,
    code: 'invalid_node',
    at: ['#/workflow/1'],
  },
  {
    title: 'a node without a class',
    body: { workflow: { '1': { inputs: {} } } },
    status: 422,
    code: 'invalid_node',
    at: ['#/workflow/1/class_type'],
  },
  {
    title: 'a node without inputs',
    body: { workflow: { '1': { class_type: 'A' } } },
    status: 422,
    code: 'invalid_node',
    at: ['#/workflow/1/inputs'],
  },
  {
    title: 'inputs that are a list',
    body: { workflow: { '1': { class_type: 'A', inputs: [] } } },
    status: 422,
    code: 'invalid_node',
    at: ['#/workflow/1/inputs'],
  },
  {
    title: 'a node without a name',
    body: { workflow: { '': node({}) } },
    status: 422,
    code: 'invalid_node',
    at: ['#/workflow/'],
  },
  {
    title: 'links that lead nowhere',
    body: { workflow: { '1': node({ 'a/b~c': ['9', 0], image: ['toString', 0] }) } },
    status: 422,
    code: 'dangling_link',
    at: ['#/workflow/1/inputs/a~1b~0c', '#/workflow/1/inputs/image'],
  },
  {
    title: 'a cycle',
    body: { workflow: { '1': node({ image: ['2', 0] }), '2': node({ image: ['1', 0] }) } },
    status: 422,
    code: 'dependency_cycle',
    at: ['#/workflow/2/inputs/image'],
  },
  {
    title: 'a node that needs itself',
    body: { workflow: { '1': node({ image: ['1', 0] }) } },
    status: 422,
    code: 'dependency_cycle',
    at: ['#/workflow/1/inputs/image'],
  },
  {
    title: 'more nodes than allowed',
    body: { workflow: Object.fromEntries(Array.from({ length: 2001 }, (_, at) => [String(at), node({})])) },
    status: 413,
    code: 'workflow_too_large',
    at: ['#/workflow'],
  },
  {
    title: 'a larger graph than allowed',
    body: { workflow: { '1': node({ text: 'x'.repeat(1024 * 1024) }) } },
    status: 413,
    code: 'workflow_too_large',
    at: ['#/workflow'],
  },
];

const INPUTS: Bad[] = [
  ...['', '.', '..', '/b.png', 'a\\..\\b.png', '../x.png', 'a\0.png', 'b.png[input]', 'é'.repeat(128)].map((name) => ({
    title: `the file name ${JSON.stringify(name.slice(0, 20))}`,
    body: { workflow: GRAPH, inputs: [{ name, data: A_PNG }] },
    status: 422,
    code: 'invalid_name',
    at: ['#/inputs/0/name'],
  })),
  {
    title: 'one name twice',
    body: {
      workflow: GRAPH,
      inputs: [
        { name: 'a.png', data: A_PNG },
        { name: 'a.png', data: A_PNG },
      ],
    },
    status: 422,
    code: 'duplicate_name',
    at: ['#/inputs/1/name'],
  },
  {
    title: 'neither asset nor data',
    body: { workflow: GRAPH, inputs: [{ name: 'a.png' }] },
    status: 422,
    code: 'invalid_value',
    at: ['#/inputs/0'],
  },
  {
    title: 'asset and data',
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', asset: NO_ASSET, data: A_PNG }] },
    status: 422,
    code: 'invalid_value',
    at: ['#/inputs/0'],
  },
  {
    title: 'an asset id of another form',
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', asset: 'sha256:../../x' }] },
    status: 422,
    code: 'invalid_value',
    at: ['#/inputs/0/asset'],
  },
  {
    title: 'an unknown asset',
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', asset: NO_ASSET }] },
    status: 422,
    code: 'unknown_asset',
    at: ['#/inputs/0/asset'],
  },
  ...['%%%', 'abc', 'AAAA=', 'data:image/png;base64,%', 'data:image/png,abc', '-_-_'].map((data) => ({
    title: `data that is not base64: ${data}`,
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', data }] },
    status: 422,
    code: 'invalid_base64',
    at: ['#/inputs/0/data'],
  })),
  {
    title: 'empty data',
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', data: '' }] },
    status: 400,
    code: 'empty_file',
    at: ['#/inputs/0/data'],
  },
  ...['hello, world', '<svg xmlns="http://www.w3.org/2000/svg"/>', '<html>', '%PDF-1.7', 'MZ\x90'].map((content) => ({
    title: `base64 that is not an image: ${content.slice(0, 12)}`,
    body: { workflow: GRAPH, inputs: [{ name: 'a.png', data: btoa(content) }] },
    status: 422,
    code: 'unsupported_media',
    at: ['#/inputs/0/data'],
  })),
  {
    title: 'more inputs than allowed',
    body: { workflow: GRAPH, inputs: Array.from({ length: 33 }, (_, at) => ({ name: `${at}.png`, data: A_PNG })) },
    status: 422,
    code: 'out_of_range',
    at: ['#/inputs'],
  },
  {
    title: 'faults of many kinds, all together',
    body: {
      workflow: { '3': node({ image: ['9', 0] }) },
      inputs: [
        { name: 'a.png', data: '%' },
        { name: 'a.png', data: btoa('no image') },
        { name: 'b.png', asset: NO_ASSET },
      ],
      endpoint: 'nope',
      finish_within: 1e9,
    },
    status: 422,
    code: 'invalid_request',
    at: [
      '#/endpoint',
      '#/finish_within',
      '#/inputs/0/data',
      '#/inputs/1/data',
      '#/inputs/1/name',
      '#/inputs/2/asset',
      '#/workflow/3/inputs/image',
    ],
  },
];

describe('a bad submit', () => {
  let account: string;
  let call: Call;
  beforeAll(async () => {
    ({ account, call } = await newClient());
  });

  it.each([...SHAPE, ...WORKFLOW, ...INPUTS])('$title is refused as $code', async ({ body, status, code, at }) => {
    const runpod = answerRunpod();
    const seen = await problemOf(await call('/v1/jobs', postJson(body)));
    expect({ status: seen.status, code: seen.code }).toEqual({ status, code });
    expect(seen.errors?.map((error) => error.pointer).sort()).toEqual(at);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(await listDurableObjectIds(env.JOB)).toEqual([]);
    expect(runpod.calls).toEqual([]);
  });

  it.each([
    ['text that is no JSON', '{"workflow": ', 400, 'invalid_json'],
    ['an empty body', '', 400, 'invalid_json'],
    ['bytes that are no UTF-8', new Uint8Array([0x22, 0xff, 0x22]), 400, 'invalid_json'],
    ['a field named __proto__', '{"workflow": {"__proto__": {"class_type": "A", "inputs": {}}}}', 422, 'invalid_value'],
    [
      'a number beyond all numbers',
      '{"workflow": {"1": {"class_type": "A", "inputs": {"x": 1e999}}}}',
      422,
      'out_of_range',
    ],
    ['a million brackets', '['.repeat(1_000_000), 422, 'out_of_range'],
    ['millions of values', `[${'0,'.repeat(2_000_000)}0]`, 422, 'out_of_range'],
    ['half a million faulty inputs', `{"workflow": 1, "inputs": [${'0,'.repeat(400_000)}0]}`, 422, 'out_of_range'],
    [
      'half a million unknown fields',
      `{${Array.from({ length: 400_000 }, (_, at) => `"${at}":0`).join()}}`,
      422,
      'out_of_range',
    ],
    [
      'half a million faulty nodes',
      `{"workflow": {${Array.from({ length: 400_000 }, (_, at) => `"${at}":0`).join()}}}`,
      413,
      'workflow_too_large',
    ],
    ['an unending string', `{"a": "${'\\'.repeat(2_000_001)}`, 400, 'invalid_json'],
    ['more bytes than allowed', 'x'.repeat(32 * 1024 * 1024 + 1), 413, 'body_too_large'],
  ])('%s is refused', async (_title, body, status, code) => {
    const runpod = answerRunpod();
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
    const seen = await problemOf(await call('/v1/jobs', init));
    expect({ status: seen.status, code: seen.code }).toEqual({ status, code });
    expect(await listDurableObjectIds(env.JOB)).toEqual([]);
    expect(runpod.calls).toEqual([]);
  });

  it('is read for DRAIN_BYTES beyond its limit when the body never ends', async () => {
    const chunk = new Uint8Array(1024 * 1024).fill(0x20);
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        controller.enqueue(chunk);
      },
    });
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
    expect((await problemOf(await call('/v1/jobs', init))).code).toBe('body_too_large');
    const { max_body_bytes } = requireConfig(env).limits;
    expect(sent * chunk.length).toBeLessThanOrEqual(max_body_bytes + DRAIN_BYTES + 3 * chunk.length);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-16',
    '',
  ])('with Content-Type "%s" is refused as unsupported_media_type', async (type) => {
    const init = { method: 'POST', headers: { 'content-type': type }, body: new TextEncoder().encode('{}') };
    const seen = await problemOf(await call('/v1/jobs', init));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 415, code: 'unsupported_media_type' });
  });

  it('is refused when its body is compressed', async () => {
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    const seen = await problemOf(await call('/v1/jobs', { method: 'POST', headers, body: '{}' }));
    expect(seen.code).toBe('unsupported_media_type');
  });

  it("is refused for a node class that is not in the endpoint's catalog", async () => {
    await writeCatalog(env.BUCKET, 'narrow', { classes: ['EmptyImage'] }, Date.now());
    const body = { workflow: GRAPH, endpoint: 'narrow' };
    const seen = await problemOf(await call('/v1/jobs', postJson(body)));
    expect(seen).toMatchObject({ status: 422, code: 'unknown_node' });
    expect(seen.errors?.map((error) => error.pointer)).toEqual(['#/workflow/2/class_type']);
    expect(await listDurableObjectIds(env.JOB)).toEqual([]);
  });
});
