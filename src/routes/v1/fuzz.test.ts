import * as fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { GRAPH, newClient, PNG, postJson, problemOf, submitted, type Call } from '../../testing/gateway.ts';
import { runAsWorker } from '../../testing/worker.ts';

/** Whatever a client sends, the answer is never a 5xx, and every refusal has the one envelope. */

let call: Call;
let job: string;

beforeAll(async () => {
  const client = await newClient();
  call = client.call;
  job = (await submitted(call)).id;
  await runAsWorker(client.account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
});

/** Returns `taken`, `refused` for a valid problem, or what is wrong with the response. */
async function outcomeOf(response: Response): Promise<string> {
  if (response.status >= 500) {
    return `broken: ${response.status} ${await response.text()}`;
  }
  if (response.status >= 400) {
    await problemOf(response);
    return 'refused';
  }
  await response.arrayBuffer();
  return 'taken';
}

const FINE = /^(taken|refused)$/;

/** Texts that have broken programs before. */
const awkward = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('', '__proto__', 'constructor', 'toString', '\0', '\ud800', '../..', '%00', '1', '#/~'),
);
const time = fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
const json = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' });
const link = fc.tuple(awkward, fc.oneof(fc.integer(), fc.double(), fc.constant(null)));
const nodes = fc.dictionary(
  fc.oneof(awkward, fc.constantFrom('1', '2', '3')),
  fc.record(
    {
      class_type: fc.oneof(awkward, fc.constant('EmptyImage'), json),
      inputs: fc.oneof(fc.dictionary(awkward, fc.oneof(link, json)), json),
      _meta: json,
    },
    { requiredKeys: [] },
  ),
  { maxKeys: 5 },
);
const body = fc.record(
  {
    workflow: fc.oneof(nodes, json),
    inputs: fc.oneof(
      fc.array(fc.record({ name: awkward, data: awkward, asset: awkward }, { requiredKeys: [] }), { maxLength: 3 }),
      json,
    ),
    endpoint: fc.oneof(awkward, fc.constant('default'), json),
    metadata: fc.oneof(fc.dictionary(awkward, awkward), json),
    options: fc.oneof(fc.record({ previews: json, temp_outputs: json }, { requiredKeys: [] }), json),
    finish_within: fc.oneof(fc.double(), json),
  },
  { requiredKeys: [] },
);

describe('the gateway survives', () => {
  it('a submit of anything shaped like a job', () =>
    fc.assert(
      fc.asyncProperty(body, async (value) => {
        expect(await outcomeOf(await call('/v1/jobs', postJson(value)))).toMatch(FINE);
      }),
      { numRuns: 300 },
    ));

  it('a submit of any JSON', () =>
    fc.assert(
      fc.asyncProperty(json, async (value) => {
        expect(await outcomeOf(await call('/v1/jobs', postJson(value)))).toMatch(FINE);
      }),
      { numRuns: 200 },
    ));

  it('a submit of any bytes', () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: bytes };
        expect(await outcomeOf(await call('/v1/jobs', init))).toMatch(FINE);
      }),
      { numRuns: 200 },
    ));

  it('an upload of any bytes', () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        expect(await outcomeOf(await call('/v1/assets', { method: 'POST', body: bytes }))).toMatch(FINE);
      }),
      { numRuns: 200 },
    ));

  it('a list with any parameters', () =>
    fc.assert(
      fc.asyncProperty(
        fc.record(
          {
            cursor: awkward,
            limit: awkward,
            status: awkward,
            key: awkward,
            endpoint: awkward,
            created_after: fc.oneof(awkward, time),
            created_before: fc.oneof(awkward, time),
          },
          { requiredKeys: [] },
        ),
        fc.dictionary(awkward, awkward, { maxKeys: 5 }),
        async (query, metadata) => {
          const pairs = Object.entries(metadata).map(([name, value]) => [`metadata.${name}`, value] as const);
          const given = [...Object.entries(query), ...pairs].map((pair) =>
            pair.map((text) => encodeURIComponent(text.toWellFormed())).join('='),
          );
          expect(await outcomeOf(await call(`/v1/jobs?${given.join('&')}`))).toMatch(FINE);
        },
      ),
      { numRuns: 300 },
    ));

  const number = fc.oneof(
    fc.nat({ max: 200 }).map(String),
    fc.constantFrom('', '-1', '99999999999999999999', '0x1', '1.5'),
  );
  const range = fc.oneof(
    fc.tuple(number, number).map(([from, to]) => `bytes=${from}-${to}`),
    fc
      .array(
        fc.tuple(number, number).map(([from, to]) => `${from}-${to}`),
        { maxLength: 4 },
      )
      .map((all) => `bytes=${all.join(',')}`),
    fc.string({ unit: 'grapheme-ascii', maxLength: 20 }),
  );

  it('a read with any Range, and answers with the range, all of it, or 416', () =>
    fc.assert(
      fc.asyncProperty(range, async (asked) => {
        const response = await call(`/v1/jobs/${job}/outputs/a.png`, { headers: { range: asked } });
        expect([200, 206, 416]).toContain(response.status);
        if (response.status === 416) {
          await problemOf(response);
          return;
        }
        const [, from = '0', to = String(PNG.length - 1)] =
          /^bytes (\d+)-(\d+)\//.exec(response.headers.get('content-range') ?? '') ?? [];
        expect(new Uint8Array(await response.arrayBuffer())).toEqual(PNG.slice(Number(from), Number(to) + 1));
      }),
      { numRuns: 300 },
    ));

  it('a read with any conditions', () => {
    const condition = fc.oneof(awkward, fc.constantFrom('*', '"x"', 'W/"x"', '"', 'Thu, 01 Jan 1970 00:00:00 GMT'));
    const names = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range'] as const;
    const ascii = (text: string) => text.replace(/[^\x20-\x7e]/g, '?');
    return fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), condition.map(ascii)), async (given) => {
        const headers = { range: 'bytes=0-1', ...given };
        expect(await outcomeOf(await call(`/v1/jobs/${job}/outputs/a.png`, { headers }))).toMatch(FINE);
      }),
      { numRuns: 300 },
    );
  });

  it('any path', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(awkward, { maxLength: 4 }),
        fc.constantFrom('GET', 'POST', 'HEAD', 'DELETE', 'PUT'),
        async (parts, method) => {
          const path = parts.map((part) => encodeURIComponent(part.toWellFormed())).join('/');
          for (const start of ['/', '/v1/', '/v1/jobs/', `/v1/jobs/${job}/`, '/worker/jobs/', '/hooks/']) {
            const response = await call(start + path, { method });
            expect(response.status).toBeLessThan(500);
            await response.arrayBuffer();
          }
        },
      ),
      { numRuns: 150 },
    ));

  it('all of that, and then accepts a valid job', async () => {
    expect((await submitted(call, { workflow: GRAPH })).status).toBe('queued');
  });
});
