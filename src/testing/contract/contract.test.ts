import { describe, expect, it } from 'vitest';
import { anyone, answerRunpod, newClient, ORIGIN, submitted } from '../gateway.ts';
import { Contract, checkedAgainst } from './contract.ts';

/** Tests the check itself: a response that violates the document fails the call and names the place. */

const contract = async (): Promise<Contract> => new Contract(await (await anyone('/openapi.json')).json());

/** Responses are broken on purpose here, so violations are not collected. */
const note = (): void => {};

/** Gets a job through a gateway that changes the response: the violation found, or `kept`. */
async function spoiled(spoil: (body: Record<string, unknown>, answer: ResponseInit) => unknown): Promise<string> {
  answerRunpod();
  const { call } = await newClient();
  const { id } = await submitted(call);
  const path = `/v1/jobs/${id}`;
  const ask = checkedAgainst(contract, note, async () => {
    const good = await call(path);
    const body = await good.json<Record<string, unknown>>();
    const answer = { status: good.status, headers: new Headers(good.headers) };
    const spoiledBody = spoil(body, answer) ?? body;
    return new Response(typeof spoiledBody === 'string' ? spoiledBody : JSON.stringify(spoiledBody), answer);
  });
  return ask(new Request(ORIGIN + path)).then(
    () => 'kept',
    (error: unknown) => String(error).replace(id, 'ID'),
  );
}

describe('an answer that keeps to the document', () => {
  it('comes through with its body unread', async () => {
    expect(await spoiled(() => undefined)).toBe('kept');
  });
});

describe('an answer that breaks the document', () => {
  it.each<[string, string, Parameters<typeof spoiled>[0]]>([
    ['lacks a field', 'required property "status"', (body) => delete body['status'] && body],
    ['has a field that is not described', '#/secret: ', (body) => ({ ...body, secret: 1 })],
    ['has one further inside', '#/urls/more: ', (body) => ({ ...body, urls: { ...Object(body['urls']), more: '' } })],
    ['has a value outside of its list', '#/status: ', (body) => ({ ...body, status: 'sleeping' })],
    ['has a time that is none', '#/created_at: ', (body) => ({ ...body, created_at: 'yesterday' })],
    ['is no JSON', 'the body is not JSON', () => '<html>'],
    ['has another type', 'the type text/html is not described', (_, { headers }) => type(headers, 'text/html')],
    ['has another status', '299 is not described', (_, answer) => void (answer.status = 299)],
    [
      'lacks a header',
      'the header x-request-id is missing',
      (_, { headers }) => void asHeaders(headers).delete('x-request-id'),
    ],
    [
      'has a header that is not described',
      'the header x-debug is not described',
      (_, { headers }) => void asHeaders(headers).set('x-debug', '1'),
    ],
    [
      'has a header with another value',
      'the header retry-after: ',
      (_, { headers }) => void asHeaders(headers).set('retry-after', 'soon'),
    ],
    [
      'is an error in another form',
      'the type application/json is not described',
      (_, answer) => void (answer.status = 404),
    ],
  ])('fails the test that got it: it %s', async (_, said, spoil) => {
    const issue = await spoiled(spoil);
    expect(issue).toContain('GET /v1/jobs/ID answered');
    expect(issue).toContain(said);
  });

  it('fails a 404 that is not a problem', async () => {
    const ask = checkedAgainst(contract, note, () =>
      Promise.resolve(Response.json({ error: 'lost' }, { status: 404 })),
    );
    for (const path of ['/v1/nothing', '/nothing']) {
      await expect(ask(new Request(ORIGIN + path))).rejects.toThrow('an error must be application/problem+json');
    }
  });

  it('does not hold for what has a protocol of its own', async () => {
    const ask = checkedAgainst(contract, note, () =>
      Promise.resolve(Response.json({ error: 'unauthorized' }, { status: 401 })),
    );
    expect((await ask(new Request(`${ORIGIN}/hooks/runpod/x/1`, { method: 'POST' }))).status).toBe(401);
  });
});

const asHeaders = (headers: unknown): Headers => (headers instanceof Headers ? headers : new Headers());
const type = (headers: unknown, value: string): void => asHeaders(headers).set('content-type', value);
