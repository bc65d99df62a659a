import { Agent, type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

/** When what a worker and its ComfyUI said passed by, in milliseconds of `performance.now()`. */
export interface Passage {
  /** `POST /prompt` had come in whole. */
  promptAt: number;
  /** The last `executed` went out to the worker. */
  executedAt: number;
}

/** Stands at ComfyUI's port and passes everything on. */
export interface Relay {
  /** What passed since the last call. */
  take(): Passage;
  close(): Promise<void>;
}

/** Listens on `port` and relays to `behind`, both on loopback. */
export async function startRelay(port: number, behind: number): Promise<Relay> {
  const agent = new Agent({ keepAlive: true });
  let passage: Passage = { promptAt: Number.NaN, executedAt: Number.NaN };

  const server = createServer((incoming, answer) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      if (incoming.method === 'POST' && incoming.url === '/prompt') {
        passage.promptAt = performance.now();
      }
      passOn(incoming, Buffer.concat(chunks), answer);
    });
  });

  const passOn = ({ method, url, headers }: IncomingMessage, body: Buffer, answer: ServerResponse): void => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: behind,
        method,
        path: url,
        headers: { ...headers, 'content-length': body.length },
        agent,
      },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      },
    );
    // ComfyUI is not up yet, or no more.
    outgoing.on('error', () => answer.destroy());
    outgoing.end(body);
  };

  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on('connection', (worker, { url = '/ws' }) => {
    const comfyui = new WebSocket(`ws://127.0.0.1:${behind}${url}`, { perMessageDeflate: false });
    const early: Buffer[] = [];
    worker.on('message', (data: Buffer) => {
      if (comfyui.readyState === WebSocket.OPEN) {
        comfyui.send(data.toString());
      } else {
        early.push(data);
      }
    });
    comfyui.on('open', () => early.forEach((data) => comfyui.send(data.toString())));
    comfyui.on('message', (data: Buffer, isBinary) => {
      if (!isBinary && data.includes('"executed"')) {
        passage.executedAt = performance.now();
      }
      worker.send(data, { binary: isBinary });
    });
    comfyui.on('close', () => worker.terminate());
    comfyui.on('error', () => worker.terminate());
    worker.on('close', () => comfyui.terminate());
    worker.on('error', () => comfyui.terminate());
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    take() {
      const taken = passage;
      passage = { promptAt: Number.NaN, executedAt: Number.NaN };
      return taken;
    },
    close: () =>
      new Promise((resolve) => {
        sockets.clients.forEach((socket) => socket.terminate());
        agent.destroy();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
