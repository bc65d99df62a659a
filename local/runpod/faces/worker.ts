import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { z } from 'zod';
import { type RunpodJob, workerTicket, type WorkerResult } from '../core/job.ts';
import { RESULT_BODY_BYTES, STREAM_CHUNK_BYTES, WORKER_POLL_MS } from '../limits.ts';
import { type FaceEnv, guard, parseJson, type Platform, readBody } from './guard.ts';

/** A result, a progress message (`status: "IN_PROGRESS"`) or both absent for an output the SDK dropped. */
const doneSchema = z.object({
  status: z.string().optional(),
  output: z.unknown().optional(),
  error: z.unknown().optional(),
  stopPod: z.boolean().optional(),
});
const chunkSchema = z.object({ output: z.unknown() });
const batchSchema = z.coerce.number().int().min(1).max(1000).default(1);

/**
 * The API RunPod's worker SDK polls in production (runpod.md 4.2), at the addresses `workerEnvironment` hands out.
 * The SDK posts JSON as `application/x-www-form-urlencoded`; the content type is ignored.
 */
export function workerFace(platform: Platform): Hono<FaceEnv> {
  const app = new Hono<FaceEnv>();
  const before = guard(platform, (key) => platform.workerKey === null || key === platform.workerKey);

  app.get('/v2/:endpoint/job-take/:worker', before('job-take'), async (c) => {
    const [job] = await take(c, 1);
    return job === undefined ? c.body(null, 204) : c.json(workerTicket(job));
  });

  app.get('/v2/:endpoint/job-take-batch/:worker', before('job-take-batch'), async (c) => {
    const count = batchSchema.safeParse(c.req.query('batch_size'));
    if (!count.success) {
      return c.json({ error: 'batch_size must be a positive number' }, 422);
    }
    const jobs = await take(c, count.data);
    return jobs.length === 0 ? c.body(null, 204) : c.json(jobs.map((job) => workerTicket(job)));
  });

  app.get('/v2/:endpoint/job-stop/:worker', before('job-stop'), async (c) => {
    const worker = c.req.param('worker');
    const { signal } = c.req.raw;
    const jobsToStop = await c.var.endpoint.stops(worker, WORKER_POLL_MS, signal);
    if (jobsToStop.length > 0) {
      onNotSent(c.env, signal, () => c.var.endpoint.roster.stopsNotReceived(worker, jobsToStop));
    }
    return jobsToStop.length === 0 ? c.body(null, 204) : c.json({ jobsToStop });
  });

  app.post('/v2/:endpoint/job-done/:worker/:job', before('job-done'), async (c) => {
    const { endpoint } = c.var;
    const { worker, job } = c.req.param();
    const posted = await readPosted(c.req.raw, doneSchema);
    if (!posted.ok) {
      return c.json({ error: posted.problem }, 400);
    }
    const { status, stopPod } = posted.value;
    const result: WorkerResult = {
      ...('output' in posted.value ? { output: posted.value.output } : {}),
      ...(posted.value.error === undefined ? {} : { error: posted.value.error }),
    };
    endpoint.change(() => {
      endpoint.roster.seen(worker, endpoint.now);
      if (status === 'IN_PROGRESS') {
        endpoint.jobs.progress(job, worker, result.output);
        return;
      }
      endpoint.jobs.finish(job, worker, result, endpoint.now);
      endpoint.roster.removeJob(worker, job, endpoint.now);
    });
    if (stopPod === true) {
      endpoint.stopWorker(worker, 'refresh');
    }
    return c.json({ status: 'ok' });
  });

  app.post('/v2/:endpoint/job-stream/:worker/:job', before('job-stream'), async (c) => {
    const { endpoint } = c.var;
    const { worker, job } = c.req.param();
    const posted = await readPosted(c.req.raw, chunkSchema);
    if (!posted.ok) {
      return c.json({ error: posted.problem }, 400);
    }
    endpoint.change(() => {
      endpoint.roster.seen(worker, endpoint.now);
      endpoint.jobs.chunk(job, worker, split(posted.value.output));
    });
    return c.json({ status: 'ok' });
  });

  app.get('/v2/:endpoint/ping/:worker', before('ping'), (c) => {
    const { endpoint } = c.var;
    const jobs = (c.req.query('job_id') ?? '').split(',').filter((id) => id !== '');
    endpoint.change(() => endpoint.roster.pinged(c.req.param('worker'), jobs, endpoint.now));
    return c.json({ status: 'ok' });
  });

  return app;
}

async function take(c: Context<FaceEnv, '/v2/:endpoint/job-take/:worker'>, count: number): Promise<RunpodJob[]> {
  const { endpoint } = c.var;
  const worker = c.req.param('worker');
  const { signal } = c.req.raw;
  const jobs = await endpoint.take(worker, count, c.req.query('job_in_progress') === '1', WORKER_POLL_MS, signal);
  if (jobs.length > 0) {
    onNotSent(c.env, signal, () => endpoint.notReceived(worker, jobs));
  }
  return jobs;
}

/** Calls `then` if the response cannot be sent because the client has disconnected. */
function onNotSent(env: HttpBindings, signal: AbortSignal, then: () => void): void {
  if (signal.aborted || env.outgoing.destroyed) {
    then();
    return;
  }
  env.outgoing.once('close', () => {
    if (!env.outgoing.writableFinished) {
      then();
    }
  });
}

type Posted<T> = { ok: true; value: T } | { ok: false; problem: string };

async function readPosted<T>(request: Request, schema: z.ZodType<T>): Promise<Posted<T>> {
  const body = await readBody(request, RESULT_BODY_BYTES);
  if (!body.ok) {
    return { ok: false, problem: `body is larger than ${RESULT_BODY_BYTES} bytes` };
  }
  const json = parseJson(body.text);
  const parsed = json.ok ? schema.safeParse(json.value) : null;
  return parsed?.success === true ? { ok: true, value: parsed.data } : { ok: false, problem: 'body is not a result' };
}

/** Splits streamed text above the chunk limit; other values stay whole. */
function split(output: unknown): unknown[] {
  if (typeof output !== 'string' || output.length <= STREAM_CHUNK_BYTES) {
    return [output];
  }
  const pieces: string[] = [];
  for (let start = 0; start < output.length; start += STREAM_CHUNK_BYTES) {
    pieces.push(output.slice(start, start + STREAM_CHUNK_BYTES));
  }
  return pieces;
}
