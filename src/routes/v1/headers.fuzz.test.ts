import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  answerRunpod,
  anyone,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  submitted,
  type Call,
} from '../../testing/gateway.ts';
import { runAsWorker } from '../../testing/worker.ts';

/**
 * Headers as no client sends them: always an answer, never a fault of the gateway, and refusals in the one envelope.
 */

let client: { account: string; key: string; call: Call };
let job: string;
let last: number;

beforeAll(async () => {
  client = await newClient();
  job = (await submitted(client.call)).id;
  await runAsWorker(client.account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
  last = ((await (await client.call(`/v1/jobs/${job}`)).json()) as { last_event: number }).last_event;
});

/** What a header can hold (RFC 9110 section 5.5), with the pieces that mean something. */
const byte = fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code));
const piece = fc.oneof(
  { weight: 3, arbitrary: fc.array(byte, { maxLength: 12 }).map((bytes) => bytes.join('')) },
  fc.constantFrom(
    '0',
    '1',
    '-1',
    '1.5',
    '1e3',
    '0x1',

    '99999999999999999999',
    'NaN',
    '\t',
    ',',
    ';',
    '=',
    '"',
  ),
  fc.constantFrom('\\', '*', 'wait', 'wait=', 'respond-async', 'bytes=', 'Bearer ', 'ce_live_', 'ce_read_', 'null'),
);
const value = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(''));
const long = fc.nat(9_000).map((length) => '1'.repeat(length));
const header = fc.oneof({ weight: 9, arbitrary: value }, long);

/** The status, once the answer is known to be a whole one. */
async function statusOf(response: Response): Promise<number> {
  if (response.status < 400) {
    await response.arrayBuffer();
  } else {
    await problemOf(response);
  }
  return response.status;
}

const runs = { numRuns: 100 };

describe('any text', () => {
  it('as Last-Event-ID or after gets the next events, 204 or 400', () =>
    fc.assert(
      fc.asyncProperty(header, fc.boolean(), async (place, asHeader) => {
        const path = `/v1/jobs/${job}/events`;
        const response = asHeader
          ? await client.call(path, { headers: { 'last-event-id': place } })
          : await client.call(`${path}?after=${encodeURIComponent(place)}`);
        // Blanks around a header's value are not part of it.
        const given = asHeader ? place.replace(/^[ \t]+|[ \t]+$/g, '') : place;
        const number = /^\d{1,15}$/.test(given) ? Number(given) : null;
        // An empty header is none to some runtimes; what looks like a key does not belong in a URL.
        const odd = asHeader ? (given === '' ? [200, 400] : [400]) : [400, 401];
        const wanted = number === null ? odd : [number >= last ? 204 : 200];
        expect(wanted).toContain(await statusOf(response));
      }),
      runs,
    ));

  it('as Prefer gets the job or a refusal', () => {
    answerRunpod();
    return fc.assert(
      fc.asyncProperty(value, async (prefer) => {
        // No graph, so that no run begins and nothing is waited for.
        const response = await client.call('/v1/jobs', { ...postJson({ workflow: {} }), headers: { prefer } });
        expect([400, 413, 415, 422, 429]).toContain(await statusOf(response));
      }),
      runs,
    );
  });

  it('as Authorization is accepted only with a valid key', () =>
    fc.assert(
      fc.asyncProperty(header, fc.constantFrom('', 'Bearer ', 'bearer  ', 'Basic '), async (text, scheme) => {
        const headers = { authorization: scheme + text };
        for (const path of [`/v1/jobs/${job}`, `/v1/jobs/${job}/events?after=1`, '/v1/keys']) {
          expect(await statusOf(await anyone(path, { headers }))).toBe(401);
        }
        const body = { attempt: 1, claim: crypto.randomUUID(), worker: { id: 'w', version: '1' } };
        const { authorization } = headers;
        const claim = await anyone(`/worker/jobs/${job}/claim`, {
          ...postJson(body),
          headers: { authorization, 'content-type': 'application/json' },
        });
        expect(claim.status).toBe(401);
        await claim.arrayBuffer();
      }),
      { numRuns: 60 },
    ));

  it('in all other headers never causes an internal error', () => {
    const names = [
      'range',
      'if-none-match',
      'if-match',
      'if-range',
      'idempotency-key',
      'x-request-id',
      'traceparent',
      'origin',
      'access-control-request-method',
      'access-control-request-headers',
      'cf-connecting-ip',
      'accept',
      'content-type',
      'prefer',
    ] as const;
    const init: RequestInit = postJson({ workflow: GRAPH, finish_within: -1 });
    return fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), header), async (headers) => {
        for (const [path, options] of [
          ['/v1/jobs', { ...init, headers }],
          [`/v1/jobs/${job}`, { headers }],
          [`/v1/jobs/${job}/events?after=1`, { headers }],
          [`/v1/jobs/${job}/outputs/a.png`, { headers }],
          ['/v1/usage', { headers }],
          ['/v1/jobs', { method: 'OPTIONS', headers }],
        ] as const) {
          const response = await client.call(path, options);
          expect(response.status).toBeLessThan(500);
          await response.arrayBuffer();
        }
      }),
      { numRuns: 40 },
    );
  });
});
