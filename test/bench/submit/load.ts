import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

/** What was met by requests that follow each other on each of some connections. Times in ms. */
export type Load = { perSecond: number; p50: number; p99: number };

export type Target = { url: URL; headers: Record<string, string>; status: number };

/**
 * Sends `count` requests over `connections` that stay open, each connection one after another, and measures each from its first
 * byte out to its last byte in. Throws on any answer but the expected one: a refusal is not to be counted as a fast success.
 */
export async function load(target: Target, bodies: () => string, connections: number, count: number): Promise<Load> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const times: number[] = [];
  let left = count;
  const line = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const body = bodies();
      const start = performance.now();
      await post(agent, target, body);
      times.push(performance.now() - start);
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: connections }, line));
  const seconds = (performance.now() - start) / 1000;
  agent.destroy();
  return { perSecond: count / seconds, p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

/** The smallest sample that at least this share of all do not pass. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

async function post(agent: Agent, { url, headers, status }: Target, body: string): Promise<void> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const options = { agent, method: 'POST', headers: { ...headers, 'content-type': 'application/json' } };
    request(url, options, resolve).on('error', reject).end(body);
  });
  const said = await text(answer);
  if (answer.statusCode !== status) {
    throw new Error(`${url.pathname} answered ${answer.statusCode}: ${said.slice(0, 300)}`);
  }
}
