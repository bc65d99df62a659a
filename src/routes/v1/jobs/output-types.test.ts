import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GRAPH, newClient, postJson, submitted } from '../../../testing/gateway.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema } from '../schemas.ts';

/** A worker's word for a file's type goes into headers: of our answers, of objects in R2, of presigned URLs. */

const ODD_TYPES = [
  '',
  'no type at all',
  'text/plain; charset="\u{1f600}"',
  'text/plain; charset="日本"',
  'text/plain; charset="ÿ"',
  'text/plain; charset="\0"',
  'text/plain; charset="\u0001\u007f"',
  'text/plain; a="\u2028"',
  'text/plain; a="\\"',
  'image/png\u2028',
  'image/png\r\nx-evil: 1',
  'image/png; a="\r\nx-evil: 1"',
  'image/png;',
  '日/本',
  `image/${'x'.repeat(300)}`,
  `text/plain; a="${'x'.repeat(300)}"`,
];
const BYTES = new TextEncoder().encode('content');

const oddType = fc.oneof(
  fc.constantFrom(...ODD_TYPES),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => `text/plain; charset="${text}"`),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => `${text}/${text}`),
  fc.string({ unit: 'binary', maxLength: 300 }),
);

/** Runs a job whose outputs have these types, reads each of them by its URL, and says what went wrong. */
async function unserved(types: readonly string[]): Promise<unknown[]> {
  const { account, call } = await newClient();
  const { id } = await submitted(call);
  await runAsWorker(
    account,
    id,
    types.map((content_type, at) => ({ name: `${at}.bin`, content_type, bytes: BYTES })),
  );
  const job = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
  const seen = await Promise.all(
    job.outputs.map(async ({ url, content_type }) => {
      const response = await call(url);
      const { status, headers } = response;
      const body = (await response.bytes()).toHex();
      const fine =
        status === 200 &&
        headers.get('content-type') === content_type &&
        !headers.has('x-evil') &&
        body === BYTES.toHex();
      return fine ? null : { status, content_type, headers: [...headers], body };
    }),
  );
  const result = await call(job.urls.result);
  const inputs = [{ name: 'a.txt', output: `job:${id}/outputs/0.bin` }];
  const chained = await call('/v1/jobs', postJson({ workflow: GRAPH, inputs }));
  const others = [result.status === 200 ? null : result.status, chained.status === 201 ? null : await chained.text()];
  return [...seen, job.outputs.length === types.length ? null : job.outputs, ...others].filter((each) => each !== null);
}

describe('the content type that a worker reports', () => {
  it.each(ODD_TYPES)('never makes an output unreadable: %j', async (type) => {
    expect(await unserved([type])).toEqual([]);
  });

  it('leaves the output readable for any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(oddType, { minLength: 1, maxLength: 20 }), async (types) => {
        expect(await unserved(types)).toEqual([]);
      }),
      { numRuns: 10 },
    );
  });
});
