import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { z } from 'zod';

/** What the heap of an isolate holds: JavaScript's own values, and the memory behind its buffers. In bytes. */
export type Heap = { values: number; buffers: number };

/** The inspector of a Worker in `wrangler dev`, as far as it tells of memory (Chrome DevTools protocol). */
export type Inspector = {
  heap(): Promise<Heap>;
  /** Collects garbage; the rest is in use. */
  collect(): Promise<void>;
  close(): void;
};

const targetsSchema = z.array(z.object({ webSocketDebuggerUrl: z.url() })).min(1);
const messageSchema = z.object({
  id: z.int().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
});
const heapSchema = z.object({ usedSize: z.number(), backingStorageSize: z.number() });

/** An isolate at rest looks at its messages only when it is next called. */
const WAKE_AFTER_MS = 50;

/** @param wake calls the Worker */
export async function openInspector(port: number, wake: () => Promise<void>): Promise<Inspector> {
  const answer = await fetch(`http://127.0.0.1:${port}/json`);
  const [target] = targetsSchema.parse(await answer.json());
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '');
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  socket.on('message', (data: Buffer) => {
    const { id, result, error } = messageSchema.parse(JSON.parse(data.toString()));
    const asked = id === undefined ? undefined : waiting.get(id);
    if (error === undefined) {
      asked?.resolve(result);
    } else {
      asked?.reject(new Error(`inspector: ${error.message}`));
    }
  });
  await new Promise<void>((resolve, reject) => void socket.on('open', resolve).on('error', reject));
  let last = 0;
  const ask = async (method: string): Promise<unknown> => {
    last += 1;
    const id = last;
    const asked = Promise.withResolvers<unknown>();
    waiting.set(id, asked);
    socket.send(JSON.stringify({ id, method }));
    const isAnswered = asked.promise.then(() => true);
    while (!(await Promise.race([isAnswered, delay(WAKE_AFTER_MS, false)]))) {
      await wake();
    }
    waiting.delete(id);
    return asked.promise;
  };
  await ask('HeapProfiler.enable');
  return {
    heap: async () => {
      const { usedSize, backingStorageSize } = heapSchema.parse(await ask('Runtime.getHeapUsage'));
      return { values: usedSize, buffers: backingStorageSize };
    },
    collect: async () => void (await ask('HeapProfiler.collectGarbage')),
    close: () => socket.close(),
  };
}
