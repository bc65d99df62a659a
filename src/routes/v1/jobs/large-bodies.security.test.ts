import { describe, expect, it } from 'vitest';
import { answerRunpod, GRAPH, newClient, postJson, problemOf, storedOf } from '../../../testing/gateway.ts';

/** A large request with any valid key must not break the isolate that other requests share. */

/** Far above what a hundred issues take; far below what a body can hold. */
const MAX_ANSWER_CHARS = 256_000;

const many = (count: number, value: unknown): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`a${at}`, value]));
const listOf = (count: number, value: unknown): unknown[] => Array.from({ length: count }, () => value);
const one = (inputs: Record<string, unknown>) => ({ workflow: { '1': { class_type: 'A', inputs } } });
/** Nearly all that a body may hold beside its files. */
const LONG = 'é'.repeat(2_500_000);

type Case = [title: string, body: Record<string, unknown>, code: string, pointer: string];

describe('a short refusal answers a body with', () => {
  it.each<Case>([
    ['as many faults as a graph has room for', one(many(50_000, '/x/y')), 'unsafe_input', '#/workflow/1/inputs/a0'],
    ['more faults than that', one(many(200_000, '/x/y')), 'workflow_too_large', '#/workflow'],
    ['them in one list', one({ a: listOf(450_000, '/x/y') }), 'workflow_too_large', '#/workflow'],
    ['links to nowhere', one(many(60_000, ['x', 0])), 'dangling_link', '#/workflow/1/inputs/a0'],
    [
      'placeholders in one text',
      { ...one({ a: '{{x}}'.repeat(200_000) }), variables: {} },
      'variable_missing',
      '#/workflow/1/inputs/a',
    ],
    [
      'more placeholders than that',
      { ...one({ a: '{{x}}'.repeat(1_000_000) }), variables: {} },
      'workflow_too_large',
      '#/workflow',
    ],
    [
      'params in any number',
      { workflow: GRAPH, params: { '1': many(300_000, '/x/y') } },
      'workflow_too_large',
      '#/params',
    ],
    ['a long variable', { workflow: GRAPH, variables: { a: LONG } }, 'workflow_too_large', '#/variables'],
    ['a long override', { workflow: GRAPH, overrides: { prompt: LONG } }, 'workflow_too_large', '#/overrides'],
    ['unknown options', { workflow: GRAPH, options: many(400_000, 1) }, 'unknown_field', '#/options/a0'],
    ['a field with a long name', { workflow: GRAPH, [LONG]: 1 }, 'unknown_field', '#'],
    ['a long node id', { workflow: { [LONG]: { class_type: 'A', inputs: {} } } }, 'invalid_node', '#/workflow'],
    ['a long name in the metadata', { workflow: GRAPH, metadata: { [LONG]: '1' } }, 'invalid_value', '#/metadata'],
    [
      'faults below a long name',
      one({ ['é'.repeat(500_000)]: listOf(100, '/x/y') }),
      'unsafe_input',
      '#/workflow/1/inputs',
    ],
    ['bad values below a long name', { workflow: GRAPH, params: { [LONG]: 1 } }, 'workflow_too_large', '#/params'],
    ['a long endpoint', { workflow: GRAPH, endpoint: LONG }, 'unknown_endpoint', '#/endpoint'],
  ])('%s', async (_title, body, code, pointer) => {
    const { call } = await newClient();
    const response = await call('/v1/jobs/dry-run', postJson(body));
    const text = await response.clone().text();
    expect(text.length).toBeLessThan(MAX_ANSWER_CHARS);
    const problem = await problemOf(response);
    expect({ code: problem.code, pointer: problem.errors?.[0]?.pointer }).toEqual({ code, pointer });
  });
});

it.each([
  ['/v1/jobs', { workflow: GRAPH, endpoint: LONG + LONG }],
  ['/v1/jobs/dry-run', one({ a: LONG + LONG })],
  ['/v1/jobs/batch', { jobs: listOf(7, { workflow: GRAPH, metadata: { a: LONG } }) }],
])('%s refuses a document over the limit, for any content', async (path, body) => {
  const { account, call } = await newClient();
  const problem = await problemOf(await call(path, postJson(body)));
  expect(problem).toMatchObject({ status: 413, code: 'body_too_large' });
  expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
});

it('a graph whose samplers share a long text is accepted and stores it once', async () => {
  answerRunpod();
  const { call } = await newClient();
  const nodes = Array.from({ length: 600 }, (_, at) => ({
    [`s${at}`]: { class_type: 'KSampler', inputs: { positive: [`e${at}`, 0] } },
    [`e${at}`]: { class_type: 'CLIPTextEncode', inputs: { text: ['p', 0] } },
  }));
  const text = { p: { class_type: 'PrimitiveString', inputs: { value: 'x'.repeat(880_000) } } };
  const body = { workflow: Object.assign(text, ...nodes), overrides: { prompt: 'a cat' } };
  const response = await call('/v1/jobs', postJson(body));
  expect(response.status).toBe(201);
});

it('a batch of them is answered with a refusal each', async () => {
  const { call } = await newClient();
  const jobs = [
    ...listOf(20, { options: many(9_000, 1) }),
    ...listOf(20, one({ a: '/x/y'.repeat(50_000) })),
    ...listOf(10, one({ a: '{{x}}'.repeat(200_000) })),
  ];
  const response = await call('/v1/jobs/batch', postJson({ jobs }));
  expect(response.status).toBe(200);
  const text = await response.text();
  expect(text.length).toBeLessThan(2 * MAX_ANSWER_CHARS);
});
