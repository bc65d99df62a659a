import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DESCRIBED, type Operation } from '../../testing/contract/operations.ts';
import { conforms, textsFor } from '../../testing/contract/parameter-texts.ts';
import { GRAPH, PNG, postJson, problemOf, submitted, type Call } from '../../testing/gateway.ts';
import { madeKey, operator } from '../../testing/keys.ts';
import { fakeRunpod } from '../../testing/job.ts';
import { runAsWorker } from '../../testing/worker.ts';

/**
 * Every parameter that the OpenAPI document describes, sent at the bounds of its schema and with texts that parsers
 * disagree about: the gateway accepts what conforms to the schema and refuses what does not.
 */

type Described = Operation['parameters'][number] & Pick<Operation, 'method' | 'path'>;

const PARAMETERS: Described[] = DESCRIBED.flatMap(({ method, path, parameters }) =>
  parameters.map((each) => ({ ...each, method, path })),
);

const account = `a${crypto.randomUUID()}`;
let admin: Call;
/** A job that has finished, so that nothing waits for it. */
let job: string;
let webhook: string;

beforeAll(async () => {
  admin = (await madeKey(account, { scopes: ['admin'] })).call;
  job = (await submitted(admin)).id;
  await runAsWorker(account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
  const made = await admin('/v1/webhooks', postJson({ url: 'https://hooks.example.com/' }));
  webhook = z.object({ id: z.string() }).parse(await made.json()).id;
});

const pathOf = (path: string): string =>
  `/v1${path}`
    .replace('{id}', path.startsWith('/webhooks') ? webhook : job)
    .replace('{account}', account)
    .replace('/endpoints/{name}', '/endpoints/default')
    .replace('{name}', 'a.png');

/** Parameters that mean something only beside another one. */
const BESIDE: Readonly<Record<string, (text: string) => Record<string, string>>> = {
  'GET /usage from': (text) => ({ to: text }),
  'GET /usage to': (text) => ({ from: text }),
};

/** Sends a text as this parameter of its operation. */
function send({ in: place, method, path, name }: Described, text: string): Promise<Response> {
  const call = path.endsWith('/debug') ? operator : admin;
  if (place === 'query') {
    const others = BESIDE[`${method} ${path} ${name}`]?.(text) ?? {};
    const query = new URLSearchParams({ ...others, [name.replace('{name}', 'team')]: text });
    return call(`${pathOf(path)}?${query}`, { method });
  }
  const workflow = { workflow: GRAPH };
  const body = path === '/jobs/batch' ? { jobs: [workflow] } : workflow;
  const init = method === 'POST' ? postJson(body) : { method };
  const headers = new Headers(init.headers);
  headers.set(name, text);
  return call(pathOf(path), { ...init, headers });
}

/** The code of a 400, null where the parameter is accepted, and the status where the answer is neither. */
async function refusalOf(response: Response): Promise<string | null> {
  if (response.status === 400) {
    return (await problemOf(response)).code;
  }
  await response.arrayBuffer();
  return response.status < 400 ? null : String(response.status);
}

/**
 * What a header can hold (RFC 9110 section 5.5). Blanks around it are not part of it, so they arrive with no server.
 */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Whether a schema says more than that this is a text. What any text may be, `headers.fuzz.test.ts` sends. */
const isConstrained = (schema: unknown): boolean =>
  typeof schema === 'object' &&
  schema !== null &&
  Object.keys(schema).some((key) => key !== 'type' && key !== 'description');

const wrongOf = (fits: boolean, refusal: string | null, isWhole: boolean): string | null => {
  if (fits) {
    return refusal === null ? null : `conforms to the document, and is refused: ${refusal}`;
  }
  return refusal === null && isWhole ? 'does not conform to the document, and is accepted' : null;
};

const TESTED = PARAMETERS.filter((each) => each.in !== 'path' && isConstrained(each.schema));

it('parameters in queries and headers are tested', () => {
  expect(new Set(TESTED.map((each) => each.in))).toEqual(new Set(['query', 'header']));
});

describe.each(TESTED)('$method $path $name', (parameter) => {
  it('is accepted exactly where the document says so', async () => {
    const runpod = fakeRunpod();
    runpod.answer.status = () => Response.json({ id: 'r', status: 'COMPLETED', output: {} });
    const { in: place, name, schema, check } = parameter;
    const wrong: string[] = [];
    for (const text of textsFor(schema).filter((each) => place === 'query' || FIELD_VALUE.test(each))) {
      const refusal = await refusalOf(await send(parameter, text));
      // A cursor is opaque: the gateway refuses one that it did not issue, in any form.
      const fits = conforms(schema, check, text) && !(name === 'cursor' && refusal === 'invalid_cursor');
      const issue = wrongOf(fits, refusal, place === 'query' || text === text.trim());
      wrong.push(...(issue === null ? [] : [`${JSON.stringify(text)} ${issue}`]));
    }
    expect(wrong).toEqual([]);
  });
});
