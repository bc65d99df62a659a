import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { WebSocketServer } from 'ws';
import { z } from 'zod';

/** A job for the worker: a graph, and files it loads. */
export interface BenchJob {
  workflow: Record<string, { class_type: string; inputs: Record<string, unknown> }>;
  inputs: Record<string, Buffer>;
}

/** What a worker did with a job, in milliseconds of `performance.now()`. */
export interface Attempt {
  /** The answer to its claim was handed to the system. */
  claimedAt: number;
  /** `complete` had come in whole. */
  completeAt: number;
  outcome: string;
  /** Sizes of the files it stored, in bytes. */
  stored: number[];
}

/** The gateway's and the store's side of docs/reference/worker-contract.md, in memory, without a rule it could slow down. */
export interface ContractGateway {
  url: string;
  /** A ticket for the job, and how its attempt will have gone. */
  offer(job: BenchJob): { ticket: Record<string, unknown>; attempt: Promise<Attempt> };
  close(): Promise<void>;
}

interface Offered {
  job: BenchJob;
  claimedAt: number;
  stored: number[];
  done: PromiseWithResolvers<Attempt>;
}

const uploadsSchema = z.object({
  files: z.array(z.object({ name: z.string(), size_bytes: z.number(), content_type: z.string() })),
});
const completeSchema = z.object({ outcome: z.string() });
const frameSchema = z.looseObject({ seq: z.number().optional() });

const FINISH_WITHIN_MS = 60_000;

export async function startContractGateway(port: number): Promise<ContractGateway> {
  const offered = new Map<string, Offered>();
  const url = `http://127.0.0.1:${port}`;

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => serve(request, Buffer.concat(chunks), response));
  });

  function serve(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const at = performance.now();
    const [, area, , id = '', call = '', ...rest] = new URL(request.url ?? '/', url).pathname.split('/');
    const entry = offered.get(id);
    const answer = (status: number, value?: unknown, sent?: () => void): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(value === undefined ? undefined : JSON.stringify(value), sent);
    };
    if (entry === undefined) {
      answer(404, { code: 'job_not_found' });
    } else if (area === 'store' && request.method === 'GET') {
      response.end(entry.job.inputs[decodeURIComponent(call)]);
    } else if (area === 'store') {
      entry.stored.push(body.length);
      response.writeHead(200, { etag: '"stored"' }).end();
    } else if (call === 'claim') {
      answer(200, claimOf(id, entry.job), () => {
        entry.claimedAt = performance.now();
      });
    } else if (call === 'uploads' && rest.length === 0) {
      const { files } = uploadsSchema.parse(JSON.parse(body.toString()));
      const uploads = files.map(({ name, content_type }) => ({
        name,
        key: `out/${id}/${name}`,
        method: 'PUT',
        url: `${url}/store/jobs/${id}/${encodeURIComponent(name)}`,
        headers: { 'content-type': content_type },
      }));
      answer(200, { uploads });
    } else if (call === 'complete') {
      const { outcome } = completeSchema.parse(JSON.parse(body.toString()));
      answer(200, { status: outcome });
      entry.done.resolve({ claimedAt: entry.claimedAt, completeAt: at, outcome, stored: entry.stored });
    } else {
      answer(204);
    }
  }

  function claimOf(id: string, job: BenchJob): Record<string, unknown> {
    const inputs = Object.entries(job.inputs).map(([name, bytes]) => ({
      name,
      url: `${url}/store/jobs/${id}/${encodeURIComponent(name)}`,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      size_bytes: bytes.length,
      content_type: 'application/octet-stream',
    }));
    return {
      job: id,
      attempt: 1,
      prompt_id: randomUUID(),
      workflow: job.workflow,
      inputs,
      options: { previews: true, temp_outputs: false, metadata: true },
      limits: { max_output_bytes: 0, max_outputs: 0, max_text_bytes: 16_384, silence_s: 0 },
      deadline: new Date(Date.now() + FINISH_WITHIN_MS).toISOString(),
      server_time: new Date().toISOString(),
      catalog_wanted: false,
    };
  }

  const channels = new WebSocketServer({ server, perMessageDeflate: false });
  channels.on('connection', (channel) => {
    channel.send('{"ack":0}');
    channel.on('message', (data: Buffer) => {
      const text = data.toString();
      if (text === 'ping') {
        channel.send('pong');
        return;
      }
      const { seq } = frameSchema.parse(JSON.parse(text));
      if (seq !== undefined) {
        channel.send(JSON.stringify({ ack: seq }));
      }
    });
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url,
    offer(job) {
      const id = randomUUID();
      const entry: Offered = { job, claimedAt: Number.NaN, stored: [], done: Promise.withResolvers<Attempt>() };
      offered.set(id, entry);
      return { ticket: { job: id, attempt: 1, gateway: url, token: 'bench' }, attempt: entry.done.promise };
    },
    close: () =>
      new Promise((resolve) => {
        channels.clients.forEach((channel) => channel.terminate());
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
