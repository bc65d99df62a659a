import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server for result files. It also releases workers that wait. */
export interface Files {
  readonly url: string;
  /** The content of each path; any other path gets 404. */
  readonly content: Map<string, Uint8Array>;
  /** Resolves with the run id of the next waiting worker. */
  waiting(): Promise<string>;
  /** Releases all current and future waiting workers. */
  go(): void;
  close(): Promise<void>;
}

export async function startFiles(): Promise<Files> {
  const content = new Map<string, Uint8Array>();
  const held: { run: string; response: ServerResponse }[] = [];
  let arrived: (run: string) => void = () => undefined;
  let open = false;
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://files').pathname;
    const [, kind, run = ''] = path.split('/');
    if (kind === 'wait' && !open) {
      held.push({ run, response });
      arrived(run);
      return;
    }
    const file = content.get(path.slice(1));
    response.writeHead(kind === 'wait' || file !== undefined ? 200 : 404).end(file);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    content,
    waiting: async () => {
      open = false;
      const [first] = held;
      return first?.run ?? new Promise<string>((resolve) => (arrived = resolve));
    },
    go: () => {
      open = true;
      for (const { response } of held.splice(0)) {
        response.writeHead(200).end();
      }
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
