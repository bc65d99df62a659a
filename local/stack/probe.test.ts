import { once } from 'node:events';
import { createServer } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { unanswered } from './probe.ts';

/** A server whose answers the test chooses, by the number of the question. */
async function server(answer: (question: number) => 'ok' | 'error' | 'silence') {
  let questions = 0;
  const http = createServer((_, response) => {
    questions += 1;
    const what = answer(questions);
    if (what !== 'silence') {
      response.writeHead(what === 'ok' ? 200 : 503).end();
    }
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  onTestFinished(() => {
    http.closeAllConnections();
    http.close();
  });
  const address = http.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { url: `http://127.0.0.1:${port}/`, questions: () => questions };
}

const quick = { intervalMs: 1, timeoutMs: 50, failures: 3 };

test.each(['error', 'silence'] as const)(
  'a program that gives %s three times in a row counts as gone',
  async (what) => {
    const { url, questions } = await server((question) => (question <= 2 ? 'ok' : what));
    await unanswered({ url, signal: new AbortController().signal, ...quick });
    expect(questions()).toBe(5);
  },
);

test('a program that answers sometimes counts as running', async () => {
  const { url, questions } = await server((question) => (question % 3 === 0 && question < 20 ? 'ok' : 'error'));
  await unanswered({ url, signal: new AbortController().signal, ...quick });
  expect(questions()).toBe(21);
});

test('a port without a listener counts as gone', async () => {
  const gone = unanswered({ url: 'http://127.0.0.1:1/', signal: new AbortController().signal, ...quick });
  await expect(gone).resolves.toBeUndefined();
});
