import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { isLargerThan } from '../../../domain/workflow/size.ts';
import { answerRunpod, newClient, postJson, problemOf } from '../../../testing/gateway.ts';

/**
 * Bodies that are odd by being large: long names, long texts, long lists, deep nesting, in any place that a job has.
 */

/** Above a hundred issues with the longest pointers and the longest quotes there can be. */
const MAX_REFUSAL_CHARS = 400_000;
const MAX_NODES = 2_000;

const unit = fc.constantFrom(
  'a',
  'é',
  '💥',
  '\0',
  '/',
  '~',
  ' ',
  '1',
  '_',
  '..',
  '{{x}}',
  '/x/',
  'cond',
  'latent',
  '"',
);
const count = fc.oneof(fc.nat({ max: 3 }), fc.constantFrom(50, 300, 5_000, 30_000));
const text = fc.oneof(
  fc.tuple(unit, count, fc.constantFrom('', 'x', '\n')).map(([each, times, end]) => each.repeat(times) + end),
  fc.constantFrom(
    'random',
    '-1',
    '__value__',
    'seed',
    'text',
    'positive',
    'width',
    'filename_prefix',
    'value',
    '1',
    '2',
  ),
);
const link = fc.tuple(fc.constantFrom('0', '1', '2', 'gone'), fc.integer({ min: -2, max: 9 }));
const leaf = fc.oneof(text, link, fc.integer(), fc.boolean(), fc.constant(null));
/** The same in a list, behind many names, or deep down. */
const value = fc.oneof(
  leaf,
  fc.tuple(leaf, count).map(([each, times]) => Array.from({ length: times }, () => each)),
  fc.tuple(leaf, text, count).map(([each, name, times]) => many(times, name.slice(0, 20), each)),
  fc.tuple(leaf, text, fc.nat({ max: 50 })).map(([each, name, depth]) => {
    let inner: unknown = each;
    for (let level = 0; level < depth; level += 1) {
      inner = { [name.slice(0, 250)]: inner };
    }
    return inner;
  }),
);
const inputs = fc.oneof(fc.dictionary(text, value, { maxKeys: 4 }), value);
const class_type = fc.oneof(
  fc.constantFrom('KSampler', 'CLIPTextEncode', 'EmptyLatentImage', 'SaveImage', 'LoadImage'),
  text,
);
const node = fc.record({ class_type, inputs });
const workflow = fc.oneof(
  fc.array(node, { maxLength: 4 }).map((nodes) => Object.fromEntries(nodes.entries())),
  fc.tuple(node, text, fc.constantFrom(1, 600, MAX_NODES)).map(([each, name, times]) => many(times, name, each)),
  value,
);
const override = fc.oneof(leaf, fc.record({ value: leaf, node: text }));
const body = fc.record(
  {
    workflow,
    variables: fc.oneof(fc.dictionary(text, leaf, { maxKeys: 3 }), value),
    params: fc.oneof(fc.dictionary(fc.constantFrom('0', '1', '2'), inputs), value),
    overrides: fc.dictionary(
      fc.constantFrom('prompt', 'negative_prompt', 'seed', 'width', 'height', 'length', 'steps'),
      override,
    ),
    inputs: fc.array(fc.oneof(fc.record({ name: text, data: text }), value), { maxLength: 3 }),
    metadata: fc.dictionary(text, leaf, { maxKeys: 3 }),
    options: fc.oneof(fc.constant({ randomize_seeds: true }), value),
    endpoint: text,
  },
  { requiredKeys: [] },
);

function many(times: number, name: string, each: unknown): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: times }, (_, at) => [`${name}${at}`, each]));
}

/** Only what a body has room for, and little enough for a test. */
const MAX_SENT = 3_000_000;
const sendable = body.filter((each) => !isLargerThan(MAX_SENT, each));

/**
 * What is wrong with an answer, in few words: the body that broke it is too long to be shown, its seed and path find it
 * again.
 */
async function issuesFor<T>(
  of: fc.Arbitrary<T>,
  numRuns: number,
  issue: (sent: T) => Promise<string | null>,
): Promise<string[]> {
  const issues: string[] = [];
  const property = fc.asyncProperty(of, async (sent) => {
    const found = await issue(sent);
    issues.push(...(found === null ? [] : [found]));
    return found === null;
  });
  const { counterexamplePath } = await fc.check(property, { numRuns, seed: 20261121, endOnFailure: true });
  return counterexamplePath === null ? issues : [...issues, `path ${counterexamplePath}`];
}

it.each(['/v1/jobs', '/v1/jobs/dry-run'])('%s accepts it or refuses it with a short response', async (path) => {
  answerRunpod();
  const { call } = await newClient();
  const issues = await issuesFor(sendable, 40, async (sent) => {
    const response = await call(path, postJson(sent));
    if (response.status < 400) {
      await response.arrayBuffer();
      return null;
    }
    const answer = await response.clone().text();
    if (response.status >= 500 || answer.length > MAX_REFUSAL_CHARS) {
      return `${response.status}, ${answer.length} characters: ${answer.slice(0, 300)}`;
    }
    await problemOf(response);
    return null;
  });
  expect(issues).toEqual([]);
});

it('a batch of them is answered with an outcome each', async () => {
  answerRunpod();
  const { call } = await newClient();
  const issues = await issuesFor(fc.array(sendable, { minLength: 1, maxLength: 4 }), 8, async (jobs) => {
    const response = await call('/v1/jobs/batch', postJson({ jobs }));
    const answer = await response.text();
    // All of them together can be more values than a body may hold.
    const fine = [200, 422].includes(response.status) && !answer.includes('"code":"internal"');
    return fine && answer.length < jobs.length * MAX_REFUSAL_CHARS
      ? null
      : `${response.status}, ${answer.length} characters: ${answer.slice(0, 300)}`;
  });
  expect(issues).toEqual([]);
});
