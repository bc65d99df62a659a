import { type Context, Hono } from 'hono';
import { z } from 'zod';
import type { Fault } from '../core/faults.ts';
import { statusView } from '../core/job.ts';
import type { Endpoint } from '../platform/endpoint.ts';
import type { FaceEnv, Platform } from './guard.ts';

const reach = {
  endpoint: z.string().nullable().default(null),
  job: z.string().nullable().default(null),
  skip: z.int().min(0).default(0),
  times: z.int().min(1).default(1),
};
const webhook = { kind: z.literal('webhook'), ...reach };

/** The body of `POST /admin/faults`, described in README.md. Times in milliseconds. */
const faultSchema = z.union([
  z.strictObject({ ...webhook, action: z.literal('lose') }),
  z.strictObject({ ...webhook, action: z.literal('delay'), delay_ms: z.int().min(0) }),
  z.strictObject({ ...webhook, action: z.literal('repeat'), copies: z.int().min(1).default(1) }),
  z.strictObject({ ...webhook, action: z.literal('reorder'), size: z.int().min(2).default(2) }),
  z.strictObject({ ...reach, kind: z.literal('answer'), operation: z.string(), status: z.int().min(400).max(599) }),
  z.strictObject({ ...reach, kind: z.literal('drop'), operation: z.string(), when: z.enum(['before', 'after']) }),
  z.strictObject({ ...reach, kind: z.literal('hang'), operation: z.string(), hang_ms: z.int().min(0) }),
]);

const rescaleSchema = z.strictObject({ min: z.int().min(0).optional(), max: z.int().min(0).optional() });
const killSchema = z.strictObject({ signal: z.enum(['SIGKILL', 'SIGTERM', 'SIGSTOP', 'SIGCONT']).default('SIGKILL') });

/** Longest wait of `GET /admin/events`. */
const LONGEST_WAIT_MS = 60_000;
const eventsSchema = z.object({
  after: z.coerce.number().int().min(0).default(0),
  type: z.string().optional(),
  endpoint: z.string().optional(),
  job: z.string().optional(),
  worker: z.string().optional(),
  wait_ms: z.coerce.number().int().min(0).max(LONGEST_WAIT_MS).default(0),
});

/** The admin API: state, events, faults. Not part of RunPod, and without a key. */
export function adminFace(platform: Platform): Hono<FaceEnv> {
  const app = new Hono<FaceEnv>();

  app.get('/admin/state', (c) => {
    const endpoints = [...platform.endpoints.values()].map((endpoint) => describe(endpoint));
    return c.json({
      last_event: platform.events.last,
      endpoints,
      faults: platform.faults.all(),
      calls: Object.fromEntries(platform.calls),
    });
  });

  app.get('/admin/events', async (c) => {
    const query = eventsSchema.safeParse(c.req.query());
    if (!query.success) {
      return c.json({ error: z.prettifyError(query.error) }, 400);
    }
    const { wait_ms, ...filter } = query.data;
    const events = await platform.events.wait(filter, wait_ms, c.req.raw.signal);
    return c.json({ events, last: events.at(-1)?.n ?? filter.after });
  });

  app.get('/admin/faults', (c) => c.json({ faults: platform.faults.all() }));

  app.post('/admin/faults', async (c) => {
    const parsed = faultSchema.safeParse(await jsonOf(c));
    if (!parsed.success) {
      return c.json({ error: z.prettifyError(parsed.error) }, 400);
    }
    const fault: Fault = { ...parsed.data, id: platform.newId() };
    platform.faults.add(fault);
    return c.json(fault);
  });

  app.delete('/admin/faults', (c) => {
    platform.faults.clear();
    platform.webhooks.release();
    return c.json({ faults: [] });
  });

  app.patch('/admin/endpoints/:endpoint', async (c) => {
    const endpoint = platform.endpoints.get(c.req.param('endpoint'));
    const limits = rescaleSchema.safeParse(await jsonOf(c));
    if (endpoint === undefined) {
      return c.json({ error: 'endpoint not found' }, 404);
    }
    if (!limits.success) {
      return c.json({ error: z.prettifyError(limits.error) }, 400);
    }
    endpoint.rescale(limits.data);
    return c.json(describe(endpoint));
  });

  app.post('/admin/endpoints/:endpoint/workers/:worker/kill', async (c) => {
    const endpoint = platform.endpoints.get(c.req.param('endpoint'));
    const order = killSchema.safeParse((await jsonOf(c)) ?? {});
    if (!order.success) {
      return c.json({ error: z.prettifyError(order.error) }, 400);
    }
    if (endpoint?.killWorker(c.req.param('worker'), order.data.signal) !== true) {
      return c.json({ error: 'no such worker process' }, 404);
    }
    return c.json({ killed: c.req.param('worker') });
  });

  app.post('/admin/endpoints/:endpoint/workers/:worker/stop', (c) => {
    const endpoint = platform.endpoints.get(c.req.param('endpoint'));
    if (endpoint === undefined || endpoint.roster.get(c.req.param('worker')) === null) {
      return c.json({ error: 'worker not found' }, 404);
    }
    endpoint.stopWorker(c.req.param('worker'), 'admin');
    return c.json({ stopping: c.req.param('worker') });
  });

  app.post('/admin/endpoints/:endpoint/jobs/:job/forget', (c) => {
    const endpoint = platform.endpoints.get(c.req.param('endpoint'));
    const job = endpoint?.find(c.req.param('job')) ?? null;
    if (endpoint === undefined || job === null) {
      return c.json({ error: 'job not found' }, 404);
    }
    endpoint.change(() => endpoint.jobs.forget(job));
    return c.json({ forgotten: job.id });
  });

  app.post('/admin/endpoints/:endpoint/jobs/:job/webhook', (c) => {
    const endpoint = platform.endpoints.get(c.req.param('endpoint'));
    if (endpoint?.sendWebhook(c.req.param('job')) !== true) {
      return c.json({ error: 'no such job, or it has no webhook' }, 404);
    }
    return c.json({ sending: c.req.param('job') });
  });

  return app;
}

function describe(endpoint: Endpoint): Record<string, unknown> {
  endpoint.settle();
  return {
    id: endpoint.id,
    scaling: endpoint.scaling,
    workers: endpoint.roster
      .all()
      .map((worker) => Object.assign({}, worker, { jobs: [...worker.jobs.keys()], stops: [...worker.stops.keys()] })),
    queue: endpoint.jobs.queued().map((job) => job.id),
    jobs: endpoint.jobs.all().map((job) => Object.assign(statusView(job), { webhook: job.webhook, input: job.input })),
  };
}

/** The JSON body; null without one, and for text that is not JSON (the schema then reports it). */
async function jsonOf(c: Context<FaceEnv>): Promise<unknown> {
  return c.req.json().catch(() => null);
}
