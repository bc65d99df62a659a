import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server of files that stand behind URLs, and the hand that lets a waiting worker go on. */
export interface Files {
  readonly url: string;
  /** What each path answers with 200; any other is a 404. */
  readonly content: Map<string, Uint8Array>;
  /** Resolves when a worker waits, with RunPod's id of its run. */
  waiting(): Promise<string>;
  /** Lets every worker that waits, or will, go on. */
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
