import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { onTestFinished } from 'vitest';

/** What the client asked for, for a test to look at. */
export interface Asked {
  method: string;
  path: string;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export interface TestServer {
  url: string;
  asked: Asked[];
}

/** A gateway for one test: answers every request with `answer`, on a free port, until the test is over. */
export async function serve(answer: (asked: Asked, response: ServerResponse) => void): Promise<TestServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const one = askedOf(request, Buffer.concat(chunks));
      asked.push(one);
      answer(one, response);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });
  return { url: `http://127.0.0.1:${portOf(server)}`, asked };
}

export function answerJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

function askedOf(request: IncomingMessage, body: Buffer): Asked {
  return { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
}

function portOf(server: Server): number {
  const address = server.address();
  if (typeof address !== 'object' || address === null) {
    throw new Error('The test server has no port');
  }
  return address.port;
}
