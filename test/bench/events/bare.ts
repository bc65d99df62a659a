import { DurableObject } from 'cloudflare:workers';

/** What an event's way is measured against: as little as a Worker and an object can do to tell many clients the same. */

export class Hub extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    if (request.method === 'POST') {
      const text = await request.text();
      for (const socket of this.ctx.getWebSockets()) {
        socket.send(text);
      }
      return new Response(null, { status: 204 });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }
}

type BareEnv = { HUB: DurableObjectNamespace<Hub> };

const worker: ExportedHandler<BareEnv> = {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/readyz') {
      return Response.json({ status: 'ok' });
    }
    const hub = env.HUB.getByName('hub');
    if (request.method === 'POST') {
      return hub.fetch(request);
    }
    const { webSocket } = await hub.fetch(request.url, { headers: { upgrade: 'websocket' } });
    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    const encoder = new TextEncoder();
    webSocket?.addEventListener('message', ({ data }) => {
      void writer.write(encoder.encode(String(data)));
    });
    webSocket?.accept();
    void writer.write(encoder.encode(': hello\n\n'));
    return new Response(readable, { headers: { 'content-type': 'text/event-stream' } });
  },
};

// oxlint-disable-next-line import/no-default-export -- the form of a Worker
export default worker;
