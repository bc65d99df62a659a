import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { MAX_OUTPUT_NAME_BYTES, outputName } from '../../../contract/job.ts';
import { GRAPH, newClient, postJson, submitted } from '../../../testing/gateway.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema } from '../schemas.ts';

/** Whatever name an output was accepted with, every URL that the API lists for it serves its content. */

const ODD_CHARACTERS = [
  ...'\u2028\u2029\u0085\u0080\u009f',
  ...'\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u00ad\u0301',
  ...'\u2044\u2215\u29f8\uff0f\uff3c\u2024\uff0e',
  ...'%?#&+=;:@!$\'()*,~|<>"`^{}[] ',
  ...'\ufffd\uffff\u{1f600}\u{10ffff}',
];
const piece = fc.oneof(
  fc.constantFrom(...ODD_CHARACTERS),
  fc.constantFrom('.', '..', '...', '%2e%2e', '%2F', '%5c', '%', '%zz', '%00', 'a', 'ü', '日本'),
  fc.string({ unit: 'grapheme', maxLength: 4 }),
);
const segment = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''));
const name = fc
  .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.constantFrom('', '.png', '.tar.gz', '.'))
  .map(([segments, ending]) => segments.join('/') + ending)
  .filter((each) => outputName.safeParse(each).success);

const LONGEST = ['a'.repeat(MAX_OUTPUT_NAME_BYTES), '日'.repeat(MAX_OUTPUT_NAME_BYTES / 3), `${'a/'.repeat(127)}a`];
const LINE_SEPARATORS = ['a\u2028b.png', 'a\u2029b.png', '\u2028', 'x/\u2029/y'];

/** What one dry run asks for. */
const MAX_INPUTS = 10;

const signed = z.object({ outputs: z.array(z.object({ name: z.string(), signed_url: z.string().nullable() })) });

/**
 * Runs a job whose outputs have these names, reads each by every URL that the API lists for it, and says what went
 * wrong.
 */
async function unserved(names: readonly string[], contentType: string): Promise<unknown[]> {
  const { account, call } = await newClient();
  const { id } = await submitted(call);
  const contentOf = (at: number) => `content ${at}`;
  await runAsWorker(
    account,
    id,
    names.map((each, at) => ({
      name: each,
      content_type: contentType,
      bytes: new TextEncoder().encode(contentOf(at)),
    })),
  );
  const job = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
  const seen = await Promise.all(
    job.outputs.map(async ({ name: listed, url }) => {
      const [get, head] = await Promise.all([call(url), call(url, { method: 'HEAD' })]);
      return [listed, get.status, await get.text(), head.status];
    }),
  );
  const result = signed.parse(await (await call(job.urls.result)).json());
  const inputs = names.map((each, at) => ({ name: `${at}.txt`, output: `job:${id}/outputs/${each}` }));
  const tried = await call('/v1/jobs/dry-run', postJson({ workflow: GRAPH, inputs: inputs.slice(0, MAX_INPUTS) }));
  const chained = tried.status === 200 ? [] : [await tried.text()];
  const wanted = names.map((each, at) => [each, 200, contentOf(at), 200]);
  return [
    ...seen.filter((each, at) => JSON.stringify(each) !== JSON.stringify(wanted[at])),
    ...result.outputs.filter(({ signed_url }) => signed_url !== null && !URL.canParse(signed_url)),
    ...chained,
  ];
}

describe('names of outputs', () => {
  it('serves an output with a line or paragraph separator in its name', async () => {
    expect(await unserved(LINE_SEPARATORS, 'application/json')).toEqual([]);
  });

  it('serves an output with the longest name', async () => {
    expect(await unserved(LONGEST, 'application/json')).toEqual([]);
  });

  it('serves every listed name', async () => {
    const type = fc.constantFrom('application/json', 'text/plain; charset=utf-8');
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { minLength: 1, maxLength: 25 }), type, async (names, contentType) => {
        expect(await unserved(names, contentType)).toEqual([]);
      }),
      { numRuns: 12 },
    );
  });

  it('lists a repeated name once, with the last content', async () => {
    const { account, call } = await newClient();
    const { id } = await submitted(call);
    const of = (content: string) => ({
      name: 'a.txt',
      content_type: 'text/plain',
      bytes: new TextEncoder().encode(content),
    });
    await runAsWorker(account, id, [of('first'), of('last')]);
    const job = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
    expect(job.outputs.map(({ name: listed, text }) => [listed, text])).toEqual([['a.txt', 'last']]);
    expect(await (await call(job.outputs[0]?.url ?? '')).text()).toBe('last');
  });
});
