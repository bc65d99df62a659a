import { Hono } from 'hono';
import { z } from 'zod';
import { isFinal, statusView, type RunpodJob, type Submission } from '../core/job.ts';
import {
  EXECUTION_TIMEOUT_MS,
  RUN_BODY_BYTES,
  RUNSYNC_BODY_BYTES,
  STREAM_HOLD_MS,
  TTL_MS,
  WAIT_MS,
} from '../limits.ts';
import type { Endpoint } from '../platform/endpoint.ts';
import { type FaceEnv, guard, parseJson, type Platform, readBody } from './guard.ts';
import { health } from './health.ts';

const submissionSchema = z.object({
  input: z.record(z.string(), z.unknown()),
  webhook: z.url().optional(),
  policy: z
    .object({
      executionTimeout: z.number().min(EXECUTION_TIMEOUT_MS.min).max(EXECUTION_TIMEOUT_MS.max).optional(),
      ttl: z.number().min(TTL_MS.min).max(TTL_MS.max).optional(),
      lowPriority: z.boolean().optional(),
    })
    .optional(),
  s3Config: z.unknown().optional(),
});

const waitSchema = z.coerce.number().min(WAIT_MS.min).max(WAIT_MS.max).default(WAIT_MS.default);
const ttlSchema = z.coerce.number().positive().optional();

type ReadSubmission = { ok: true; submission: Submission } | { ok: false; problem: string };

/** RunPod's client API for the job operations, under `/v2/{endpoint}/…`. Success is always 200. */
export function clientFace(platform: Platform): Hono<FaceEnv> {
  const app = new Hono<FaceEnv>();
  const before = guard(platform, (key) => platform.clientKeys?.has(key) ?? true);

  app.post('/v2/:endpoint/run', before('run'), async (c) => {
    const read = await readSubmission(platform, c.var.endpoint, c.req.raw, 'run');
    if (!read.ok) {
      return c.json({ error: read.problem }, 400);
    }
    const job = c.var.endpoint.submit(read.submission);
    return c.json({ id: job.id, status: 'IN_QUEUE' });
  });

  app.post('/v2/:endpoint/runsync', before('runsync'), async (c) => {
    const wait = waitSchema.safeParse(c.req.query('wait'));
    if (!wait.success) {
      return c.json({ error: waitProblem }, 400);
    }
    const read = await readSubmission(platform, c.var.endpoint, c.req.raw, 'runsync');
    if (!read.ok) {
      return c.json({ error: read.problem }, 400);
    }
    const { id } = c.var.endpoint.submit(read.submission);
    const job = await c.var.endpoint.findEnded(id, wait.data, c.req.raw.signal);
    return job === null ? c.json(jobNotFound, 404) : c.json(statusView(job));
  });

  app.get('/v2/:endpoint/status/:job', before('status'), (c) => {
    const job = c.var.endpoint.find(c.req.param('job'));
    const ttl = ttlSchema.safeParse(c.req.query('ttl'));
    if (!ttl.success) {
      return c.json({ error: 'ttl must be a number of milliseconds' }, 400);
    }
    if (job === null) {
      return c.json(jobNotFound, 404);
    }
    if (ttl.data !== undefined) {
      const ttlMs = ttl.data;
      c.var.endpoint.change(() => c.var.endpoint.jobs.setTtl(job, ttlMs));
    }
    return c.json(statusView(job));
  });

  app.get('/v2/:endpoint/status-sync/:job', before('status-sync'), async (c) => {
    const wait = waitSchema.safeParse(c.req.query('wait'));
    if (!wait.success) {
      return c.json({ error: waitProblem }, 400);
    }
    const job = await c.var.endpoint.findEnded(c.req.param('job'), wait.data, c.req.raw.signal);
    return job === null ? c.json(jobNotFound, 404) : c.json(statusView(job));
  });

  app.get('/v2/:endpoint/stream/:job', before('stream'), async (c) => {
    const { endpoint } = c.var;
    const job = endpoint.find(c.req.param('job'));
    if (job === null) {
      return c.json(jobNotFound, 404);
    }
    if (job.chunks.length === 0 && !isFinal(job.status)) {
      await waitForChunk(platform, job, c.req.raw.signal);
    }
    const stream = endpoint.jobs.drainChunks(job).map((output) => ({ output }));
    return c.json({ status: job.status, stream });
  });

  app.post('/v2/:endpoint/cancel/:job', before('cancel'), (c) => {
    const { endpoint } = c.var;
    const job = endpoint.find(c.req.param('job'));
    if (job === null) {
      return c.json(jobNotFound, 404);
    }
    endpoint.change(() => endpoint.jobs.cancel(job, endpoint.now));
    return c.json({ id: job.id, status: job.status });
  });

  app.post('/v2/:endpoint/retry/:job', before('retry'), (c) => {
    const { endpoint } = c.var;
    const job = endpoint.find(c.req.param('job'));
    if (job === null) {
      return c.json(jobNotFound, 404);
    }
    if (!endpoint.jobs.retry(job, endpoint.now)) {
      return c.json({ error: `only FAILED and TIMED_OUT jobs can be retried, this one is ${job.status}` }, 400);
    }
    endpoint.settle();
    return c.json({ id: job.id, status: 'IN_QUEUE' });
  });

  app.post('/v2/:endpoint/purge-queue', before('purge-queue'), (c) => {
    const { endpoint } = c.var;
    const removed = endpoint.change(() => endpoint.jobs.purge(endpoint.now));
    return c.json({ removed, status: 'completed' });
  });

  app.get('/v2/:endpoint/health', before('health'), (c) => {
    c.var.endpoint.settle();
    return c.json(health(c.var.endpoint));
  });

  app.get('/v2/:endpoint/requests', before('requests'), (c) => {
    c.var.endpoint.settle();
    return c.json({ requests: c.var.endpoint.jobs.all().map((job) => statusView(job)) });
  });

  return app;
}

const jobNotFound = { error: 'request does not exist' };
const waitProblem = `wait must be ${WAIT_MS.min} to ${WAIT_MS.max} milliseconds`;

async function readSubmission(
  platform: Platform,
  endpoint: Endpoint,
  request: Request,
  source: 'run' | 'runsync',
): Promise<ReadSubmission> {
  const limit = source === 'run' ? RUN_BODY_BYTES : RUNSYNC_BODY_BYTES;
  const body = await readBody(request, limit);
  if (!body.ok) {
    return { ok: false, problem: `body is larger than ${limit} bytes` };
  }
  const json = parseJson(body.text);
  if (!json.ok) {
    return { ok: false, problem: 'body is not JSON' };
  }
  const parsed = submissionSchema.safeParse(json.value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return { ok: false, problem: `${issue?.path.join('.') ?? 'body'}: ${issue?.message ?? 'not valid'}` };
  }
  const { input, webhook, policy, s3Config } = parsed.data;
  const id = `${platform.newId()}-u1`;
  return {
    ok: true,
    submission: {
      id: source === 'run' ? id : `sync-${id}`,
      source,
      input,
      webhook: webhook ?? null,
      executionTimeoutMs: policy?.executionTimeout ?? endpoint.config.execution_timeout_ms,
      ttlMs: policy?.ttl ?? TTL_MS.default,
      lowPriority: policy?.lowPriority ?? false,
      s3Config,
    },
  };
}

/** Resolves at the job's next chunk or end, or after STREAM_HOLD_MS: the npm client polls without a pause. */
async function waitForChunk(platform: Platform, job: RunpodJob, signal: AbortSignal): Promise<void> {
  await platform.events.until(
    (event) =>
      (event.type === 'job_chunk' || event.type === 'job_finished' || event.type === 'job_removed') &&
      event.job === job.id,
    STREAM_HOLD_MS,
    signal,
  );
}
