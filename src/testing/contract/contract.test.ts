import { describe, expect, it } from 'vitest';
import { anyone, answerRunpod, newClient, ORIGIN, submitted } from '../gateway.ts';
import { Contract, keepingTo } from './contract.ts';

/** The test of the tests: an answer that breaks the served document fails the call, and says where. */

const contract = async (): Promise<Contract> => new Contract(await (await anyone('/openapi.json')).json());

/** Here answers are broken on purpose, so what is noted counts for nothing. */
const note = (): void => {};

/** A job as the gateway answers it, and a way to ask for it through a gateway that spoils the answer. */
async function spoiled(spoil: (body: Record<string, unknown>, answer: ResponseInit) => unknown): Promise<string> {
  answerRunpod();
  const { call } = await newClient();
  const { id } = await submitted(call);
  const path = `/v1/jobs/${id}`;
  const ask = keepingTo(contract, note, async () => {
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

  it('fails where there is no route, too', async () => {
    const ask = keepingTo(contract, note, () => Promise.resolve(Response.json({ error: 'lost' }, { status: 404 })));
    for (const path of ['/v1/nothing', '/nothing']) {
      await expect(ask(new Request(ORIGIN + path))).rejects.toThrow('an error must be application/problem+json');
    }
  });

  it('does not hold for what has a protocol of its own', async () => {
    const ask = keepingTo(contract, note, () =>
      Promise.resolve(Response.json({ error: 'unauthorized' }, { status: 401 })),
    );
    expect((await ask(new Request(`${ORIGIN}/hooks/runpod/x/1`, { method: 'POST' }))).status).toBe(401);
  });
});

const asHeaders = (headers: unknown): Headers => (headers instanceof Headers ? headers : new Headers());
const type = (headers: unknown, value: string): void => asHeaders(headers).set('content-type', value);
