import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What `/health` answers: an endpoint that is well, so that nothing holds jobs back. */
const HEALTH = {
  jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
  workers: { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 0, unhealthy: 0 },
};

/** A RunPod that accepts every run immediately and starts none: the benchmark measures only the submit. */
export async function startRunpodStub(): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer((incoming, answer) => {
    incoming.resume().on('end', () => {
      answer.setHeader('content-type', 'application/json');
      const asksHealth = incoming.url?.endsWith('/health') === true;
      answer.end(JSON.stringify(asksHealth ? HEALTH : { id: randomUUID(), status: 'IN_QUEUE' }));
    });
  });
  // Node closes a connection that was idle for 5 s. workerd keeps it and may use it at that moment, which fails the call: at RunPod
  // that is rare, here a pause between two rounds would do it to all connections at once.
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  // A TCP server that listens has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v2`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
