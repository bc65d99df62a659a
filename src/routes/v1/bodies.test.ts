import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { variantsOf } from '../../testing/contract/body-variants.ts';
import { DESCRIBED } from '../../testing/contract/operations.ts';
import { postJson, submitted, type Call } from '../../testing/gateway.ts';
import { madeKey, operator } from '../../testing/keys.ts';

/**
 * Every field of every JSON body that the OpenAPI document describes, at its bounds and with values of every type: the
 * gateway refuses a body for its form exactly where the document says that the form is wrong.
 */

const account = `a${crypto.randomUUID()}`;
let admin: Call;
let ids: Record<string, string>;

const idOf = async (answer: Response): Promise<string> => (await answer.json<{ id: string }>()).id;

beforeAll(async () => {
  admin = (await madeKey(account, { scopes: ['admin'] })).call;
  ids = {
    jobs: (await submitted(admin)).id,
    keys: (await madeKey(account)).id,
    webhooks: await idOf(await admin('/v1/webhooks', postJson({ url: 'https://hooks.example.com/' }))),
  };
});

/** Codes of issues that a schema can know. Others are about what a value names or means. */
const OF_FORM = new Set([
  'required',
  'invalid_type',
  'invalid_value',
  'out_of_range',
  'unknown_field',
  'workflow_empty',
]);

const problemSchema = z.object({ code: z.string(), errors: z.array(z.object({ code: z.string() })).default([]) });
const batchSchema = z.object({ data: z.array(z.object({ problem: problemSchema.optional() })) });

/** Whether the answer refuses the form of the body, or of a job in it. */
async function refusesForm(answer: Response): Promise<boolean> {
  const text = await answer.text();
  const body: unknown = text === '' ? null : JSON.parse(text);
  const problems = [body, ...(batchSchema.safeParse(body).data?.data.map(({ problem }) => problem) ?? [])];
  return problems.some((problem) => {
    const { code, errors } = problemSchema.safeParse(problem).data ?? { code: '', errors: [] };
    return OF_FORM.has(code) || errors.some((issue) => OF_FORM.has(issue.code));
  });
}

/** What no JSON Schema can say: whether a text is an address, or a range without bits beyond its prefix. */
const BY_DESCRIPTION = new Set(['#/ip_allow']);

/** A group of variants for each field of a body. `POST /jobs` takes the bodies of a dry run, which makes no job. */
const TESTED = DESCRIBED.flatMap(({ method, path, body }) => {
  const variants = body === null || path === '/jobs' ? [] : variantsOf(body.schema, body.example);
  return [...Map.groupBy(variants, ({ field }) => field)].map(([field, own]) => ({ method, path, field, own, body }));
});

it('every described body is tested', () => {
  const bodies = DESCRIBED.filter(({ body }) => body !== null).map(({ path }) => path);
  expect(new Set(TESTED.map(({ path }) => path))).toEqual(new Set(bodies.filter((path) => path !== '/jobs')));
});

describe.each(TESTED)('$field of $method $path', ({ method, path, field, own, body }) => {
  it('is refused for its form exactly where the document says so', async () => {
    // A key makes keys of its own account only.
    const call = field === '#/account' || path.endsWith('/limits') ? operator : admin;
    const url = `/v1${path.replace('{id}', ids[path.split('/')[1] ?? ''] ?? '').replace('{account}', account)}`;
    const wrong: string[] = [];
    for (const variant of own) {
      const fits = body?.check(variant.body).length === 0;
      const refused = await refusesForm(await call(url, { ...postJson(variant.body), method }));
      if (fits === refused && !(fits && BY_DESCRIPTION.has(variant.field))) {
        const what = fits ? 'conforms to the document, and is refused' : 'does not conform, and is accepted';
        wrong.push(`${variant.pointer} ${JSON.stringify(variant.value)} ${what}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
