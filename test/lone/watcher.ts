import { Agent, request, type ClientRequest, type IncomingMessage } from 'node:http';
import { createParser } from 'eventsource-parser';

/** An event as a watcher got it. `at`: when its last byte came, in ms of `performance.now()`. */
export type Seen = { id: number | null; event: string; data: string; at: number };

/** One SSE connection of its own, read event by event as it comes. */
export class Watcher {
  readonly seen: Seen[] = [];
  readonly status: number;
  /** Resolves when the gateway has ended the stream. */
  readonly ended: Promise<void>;
  private readonly request: ClientRequest;
  private listeners: { holds: () => boolean; tell: () => void }[] = [];

  private constructor(outgoing: ClientRequest, response: IncomingMessage) {
    this.request = outgoing;
    this.status = response.statusCode ?? 0;
    const parser = createParser({
      onEvent: ({ id, event, data }) =>
        this.seen.push({
          id: id === undefined ? null : Number(id),
          event: event ?? 'message',
          data,
          at: performance.now(),
        }),
    });
    response.setEncoding('utf8');
    response.on('data', (text: string) => {
      parser.feed(text);
      this.tell();
    });
    this.ended = new Promise((resolve) => {
      response.on('close', () => {
        resolve();
        this.tell();
      });
      response.on('error', () => undefined);
    });
  }

  /** Connects; resolves when the answer's head has come. No two watchers share a connection. */
  static open(url: string, headers: Record<string, string>): Promise<Watcher> {
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { headers, agent: new Agent({ keepAlive: false }) });
      outgoing.on('response', (response) => resolve(new Watcher(outgoing, response)));
      outgoing.on('error', reject);
      outgoing.end();
    });
  }

  /** Resolves once it has seen an event with this number or a later one. */
  upTo(id: number): Promise<void> {
    return this.until(() => (this.seen.findLast((event) => event.id !== null)?.id ?? -1) >= id);
  }

  until(holds: () => boolean): Promise<void> {
    return new Promise((tell) => {
      this.listeners.push({ holds, tell });
      this.tell();
    });
  }

  /** Leaves without a word, as a closed tab does. */
  leave(): void {
    this.request.destroy();
  }

  private tell(): void {
    const ready = this.listeners.filter(({ holds }) => holds());
    this.listeners = this.listeners.filter((listener) => !ready.includes(listener));
    for (const { tell } of ready) {
      tell();
    }
  }
}
