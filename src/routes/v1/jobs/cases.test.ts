import { describe, expect, it } from 'vitest';
import { answerRunpod, newClient, postJson, problemOf } from '../../../testing/gateway.ts';
import { dryRunSchema, jobSchema } from '../schemas.ts';
import case01 from '../../../../test/fixtures/cases/01-prompt-into-negative.json';
import case02 from '../../../../test/fixtures/cases/02-fallback-into-negative.json';
import case03 from '../../../../test/fixtures/cases/03-rgthree-comparer-refused.json';
import case04 from '../../../../test/fixtures/cases/04-width-on-final-resize.json';
import case06 from '../../../../test/fixtures/cases/06-prompt-into-segmenter.json';
import case07 from '../../../../test/fixtures/cases/07-clipspace-mask-as-input.json';
import case08 from '../../../../test/fixtures/cases/08-subfolder-as-input.json';
import case09 from '../../../../test/fixtures/cases/09-jpeg-base64-refused.json';
import case11 from '../../../../test/fixtures/cases/11-dangling-link-nobody-uses.json';
import case12 from '../../../../test/fixtures/cases/12-nan-without-a-place.txt?raw';
import case13 from '../../../../test/fixtures/cases/13-override-seed-text-minus-one.json';
import case15 from '../../../../test/fixtures/cases/15-xlabs-negative-not-found.json';

/**
 * Small inputs that real users met faults with, as whole requests to a gateway that does not know its endpoint's node
 * classes (test/fixtures/cases). Cases 10 and 14 need a ComfyUI: worker-gpu/tests/job/test_cases.py runs them.
 */

const dryRun = async (body: unknown) => {
  const { call } = await newClient();
  const answer = await call('/v1/jobs/dry-run', postJson(body));
  expect(answer.status).toBe(200);
  return dryRunSchema.parse(await answer.json());
};

type Nodes = Record<string, { inputs: Record<string, unknown> }>;

/** A workflow with other inputs at some nodes. */
function withInputs(workflow: Nodes, changed: Record<string, Record<string, unknown>>): Nodes {
  const copy = structuredClone(workflow);
  for (const [node, inputs] of Object.entries(changed)) {
    Object.assign(copy[node]?.inputs ?? {}, inputs);
  }
  return copy;
}

const WILDCARD = { wildcard_text: 'A NEW PROMPT', populated_text: 'A NEW PROMPT' };
const PLACED: [title: string, body: { workflow: Nodes }, changed: Record<string, Record<string, unknown>>][] = [
  [
    'prompt at the positive text behind a node that gives a model first (01)',
    case01,
    { '2': { text: 'A NEW PROMPT' } },
  ],
  ['prompt at the wildcard encoder, not at the negative text (02)', case02, { '50': WILDCARD }],
  [
    'size at the first size, not at the final resize (04)',
    case04,
    { '2': { empty_latent_width: 768, empty_latent_height: 768 } },
  ],
  ['prompt at the wildcard encoder, not at the segmenter (06)', case06, { '2': WILDCARD }],
  ['negative prompt at what feeds neg_conditioning (15)', case15, { '19': { clip_l: 'blurry', t5xxl: 'blurry' } }],
];

describe('an override', () => {
  it.each(PLACED)('sets the %s, and nothing else', async (_title, body, changed) => {
    expect((await dryRun(body)).workflow).toEqual(withInputs(body.workflow, changed));
  });

  it('draws a seed when the seed is the text -1 (13)', async () => {
    expect((await dryRun(case13)).resolved.seeds).toMatchObject([{ node: '3', input: 'seed', random: true }]);
  });
});

describe('a workflow', () => {
  it.each([
    ['what a widget showed last (03)', case03],
    ['a picture in base64 (09)', case09],
    ['a dangling link that no output needs (11)', case11],
  ])('may contain %s, and runs unchanged', async (_title, body) => {
    expect((await dryRun(body)).workflow).toEqual(body.workflow);
  });

  it('gets a warning for a dangling link that no output needs (11)', async () => {
    const { warnings } = (await dryRun(case11)).resolved;
    expect(warnings).toMatchObject([{ code: 'dangling_link', node: '97', input: 'image' }]);
  });

  it('is refused with line, column and text when it is not JSON (12)', async () => {
    const { call } = await newClient();
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: case12 };
    const seen = await problemOf(await call('/v1/jobs/dry-run', init));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 400, code: 'invalid_json' });
    expect(seen.detail).toMatch(/^Line 1, column 120, in #\/workflow\/1\/is_changed\/0: NaN is not JSON/);
  });
});

describe('an input with the name that the editor wrote', () => {
  it.each([
    ['(07)', case07],
    ['(08)', case08],
  ])('is accepted with that name %s', async (_case, body) => {
    answerRunpod();
    const run = await dryRun(body);
    expect(run.inputs).toMatchObject([{ name: body.inputs[0]?.name, used_by: ['1'] }]);
    const { call } = await newClient();
    const answer = await call('/v1/jobs', postJson(body));
    expect(answer.status).toBe(201);
    expect(jobSchema.parse(await answer.json()).status).toBe('queued');
  });
});
