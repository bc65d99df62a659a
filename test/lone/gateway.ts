import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { ensureApiKey } from '../../local/stack/api-key.ts';
import { startGateway } from '../../local/stack/gateway.ts';
import { valueOf } from '../../local/stack/outcome.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { readSecrets } from '../../local/stack/secrets.ts';
import { newStateDirectory } from '../../local/stack/testing/state.ts';

const root = resolve(import.meta.dirname, '..', '..');

const ticketSchema = z.object({ job: z.string(), attempt: z.number(), gateway: z.string(), token: z.string() });
type Ticket = z.infer<typeof ticketSchema>;

/** The real gateway alone: this process is its RunPod, which accepts every run, and its worker (`runningJob`). */
export type LoneGateway = {
  url: string;
  /** An API key of the account `local`. */
  key: string;
  /** May call `/v1/keys` for every account. */
  adminToken: string;
  /** Folder of its logs. */
  logs: string;
  /** Waits for the ticket that `/run` received for a job. */
  ticketOf(job: string): Promise<Ticket>;
  stop(): Promise<void>;
};

/** @param limits `LIMITS` of the gateway (docs/reference/configuration.md) */
export async function startLoneGateway(limits: Record<string, number> = {}): Promise<LoneGateway> {
  const directory = await newStateDirectory('lone');
  const signal = new AbortController().signal;
  const tickets = new Map<string, PromiseWithResolvers<Ticket>>();
  const ticketOf = (job: string): PromiseWithResolvers<Ticket> => {
    const known = tickets.get(job) ?? Promise.withResolvers<Ticket>();
    tickets.set(job, known);
    return known;
  };
  const runpod = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url?.endsWith('/run') === true) {
        const { input } = z.object({ input: ticketSchema }).parse(JSON.parse(Buffer.concat(chunks).toString()));
        ticketOf(input.job).resolve(input);
      }
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ id: randomUUID(), status: 'IN_PROGRESS' }));
    });
  });
  const runpodPort = valueOf(await claimPort({ port: 0, purpose: 'RunPod', variable: '' }));
  await new Promise<void>((listening) => void runpod.listen(runpodPort, '127.0.0.1', listening));
  const secrets = readSecrets(directory);
  const gateway = valueOf(
    await startGateway({
      root,
      directory,
      port: valueOf(await claimPort({ port: 0, purpose: 'gateway', variable: '' })),
      runpodUrl: `http://127.0.0.1:${runpodPort}/v2`,
      endpoints: { default: { runpod_id: 'lone', environment: 'any' } },
      secrets,
      policy: {},
      limits,
      signal,
    }),
  );
  return {
    url: gateway.url,
    key: valueOf(await ensureApiKey(gateway.url, directory, secrets, signal)),
    adminToken: secrets.adminToken,
    logs: join(directory, 'logs'),
    ticketOf: (job) => ticketOf(job).promise,
    stop: async () => {
      await gateway.stop();
      runpod.closeAllConnections();
      await new Promise((closed) => runpod.close(closed));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A job that a worker has claimed; the worker is the test. */
export type RunningJob = {
  id: string;
  /** Sends the worker's next message; resolves when the gateway has stored it. */
  say(message: Record<string, unknown>): Promise<void>;
  /** Sends a preview, which has no acknowledgement. */
  preview(base64: string): void;
  /** Reports success, with no output. */
  complete(): Promise<void>;
};

/** How often a worker shows that it lives (docs/reference/worker-contract.md, channel). */
const PING_MS = 10_000;

const GRAPH = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};

export async function runningJob(gateway: LoneGateway): Promise<RunningJob> {
  const submitted = await fetch(`${gateway.url}/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ workflow: GRAPH }),
  });
  if (submitted.status !== 201) {
    throw new Error(`submit: ${submitted.status} ${await submitted.text()}`);
  }
  const { id } = z.object({ id: z.string() }).parse(await submitted.json());
  const { attempt, token } = await gateway.ticketOf(id);
  const claim = randomUUID();
  const authorization = `Bearer ${token}`;
  const call = async (path: string, body: object): Promise<void> => {
    const response = await fetch(`${gateway.url}/worker/jobs/${id}/${path}`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ attempt, claim, ...body }),
    });
    if (response.status !== 200) {
      throw new Error(`${path}: ${response.status} ${await response.text()}`);
    }
    await response.arrayBuffer();
  };
  await call('claim', { worker: { id: 'lone', version: '0' } });
  const origin = gateway.url.replace('http', 'ws');
  const channel = new WebSocket(`${origin}/worker/jobs/${id}/channel?attempt=${attempt}&claim=${claim}`, {
    headers: { authorization },
    perMessageDeflate: false,
  });
  const waiting = new Map<number, () => void>();
  let sent = 0;
  const opened = Promise.withResolvers<void>();
  channel.on('error', opened.reject);
  // A channel that is silent for a minute is closed.
  channel.on('open', () => {
    const pings = setInterval(() => channel.send('ping'), PING_MS);
    channel.on('close', () => clearInterval(pings));
  });
  channel.on('message', (data: Buffer) => {
    if (data.toString() === 'pong') {
      return;
    }
    const { ack } = z.object({ ack: z.number().optional() }).parse(JSON.parse(data.toString()));
    opened.resolve();
    for (const [seq, stored] of waiting) {
      if (ack !== undefined && seq <= ack) {
        waiting.delete(seq);
        stored();
      }
    }
  });
  await opened.promise;
  return {
    id,
    say: (message) => {
      sent += 1;
      const seq = sent;
      channel.send(JSON.stringify({ ...message, seq }));
      return new Promise((stored) => void waiting.set(seq, stored));
    },
    preview: (base64) =>
      channel.send(JSON.stringify({ type: 'preview', node_id: '5', content_type: 'image/jpeg', data_base64: base64 })),
    complete: async () => {
      await call('complete', { last_seq: sent, outcome: 'succeeded', outputs: [], timings: {}, usage: {} });
      channel.close();
    },
  };
}
