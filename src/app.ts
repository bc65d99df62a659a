import { Hono } from 'hono';
import { configOf } from './config/schema.ts';
import { publicStatus } from './services/endpoints/public-status.ts';
import { redactKeys } from './domain/key/format.ts';
import { readiness } from './services/readiness.ts';
import { isTransient } from './durable-objects/shared/rpc-retry.ts';
import type { AppEnv } from './routes/http/app-env.ts';
import { hooksRoutes } from './routes/hooks/index.ts';
import { methodNotAllowed, methodsOf } from './routes/http/methods.ts';
import { problem } from './routes/http/problem.ts';
import { setResponseHeader } from './routes/http/response-headers.ts';
import { retryLater, resumes } from './routes/http/sse.ts';
import { limitOpenRoute } from './routes/http/edge-rate-limit.ts';
import { docsRoutes } from './routes/docs/index.ts';
import { cors } from './routes/v1/cors.ts';
import { v1Routes } from './routes/v1/index.ts';
import { openApiDocument } from './routes/v1/openapi.ts';
import { readTraceparent } from './routes/http/trace.ts';
import { workerRoutes } from './routes/worker/index.ts';
import { systemClock, type Clock } from './lib/clock.ts';
import { uuidV7, type NewId } from './lib/ids.ts';
import { consoleLog, type Log } from './providers/log.ts';
import { randomSeed, type NewSeed } from './lib/seeds.ts';

/** The dependencies of the app. A missing one is the platform's own. */
export type AppParts = { clock?: Clock; newId?: NewId; newSeed?: NewSeed; log?: Log };

/** A request id that a client may choose. Its characters are safe in a log line and in a header. */
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** Routes that work without a configuration: a misconfigured gateway still says that it runs and is not ready. */
const HEALTH = new Set(['/healthz', '/readyz']);

/** `Retry-After` while a part of the platform is overloaded or restarting, in seconds. */
const RETRY_UNAVAILABLE_S = 2;

/** The gateway as a Hono app: request id, log line, configuration, routes, and one envelope for every error. */
export function createApp(parts: AppParts = {}): Hono<AppEnv> {
  const clock = parts.clock ?? systemClock;
  const newId = parts.newId ?? uuidV7(clock);
  const newSeed = parts.newSeed ?? randomSeed;
  const log = parts.log ?? consoleLog;
  const app = new Hono<AppEnv>();

  app.use(async (c, next) => {
    const given = c.req.header('x-request-id');
    const trace = readTraceparent(c.req.header('traceparent'));
    const requestId = given !== undefined && REQUEST_ID.test(given) ? given : (trace?.trace_id ?? newId());
    c.set('requestId', requestId);
    const started = clock();
    await next();
    setResponseHeader(c, 'x-request-id', requestId);
    setResponseHeader(c, 'x-content-type-options', 'nosniff');
    log({
      event: 'request',
      request_id: requestId,
      method: c.req.method,
      path: redactKeys(c.req.path),
      status: c.res.status,
      ms: clock() - started,
      account: c.get('caller')?.account ?? null,
      ...trace,
    });
  });

  app.use(async (c, next) => {
    const checked = configOf(c.env);
    if (checked.ok) {
      c.set('context', { env: c.env, config: checked.config, clock, newId, newSeed });
    } else if (!HEALTH.has(c.req.path)) {
      log({ event: 'misconfigured', request_id: c.var.requestId, problems: checked.problems });
      return problem(c, 'misconfigured', {
        detail: 'A setting of the gateway is missing or invalid. Its log names it.',
      });
    }
    return next();
  });

  // A misconfigured gateway has no configuration to go by, and nothing that a page should read.
  app.use((c, next) => (configOf(c.env).ok ? cors(c, next) : next()));

  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/readyz', async (c) => {
    const { requestId } = c.var;
    const checked = configOf(c.env);
    if (!checked.ok) {
      log({ event: 'misconfigured', request_id: requestId, problems: checked.problems });
      return problem(c, 'misconfigured', {
        detail: 'A setting of the gateway is missing or invalid. Its log names it.',
      });
    }
    if (checked.advice.length > 0) {
      log({ event: 'config_advice', request_id: requestId, advice: checked.advice });
    }
    const { state, ...found } = await readiness(c.var.context);
    if (state !== 'ready') {
      log({ event: state, request_id: requestId, ...found });
    }
    switch (state) {
      case 'ready':
        return c.json({ status: 'ok' });
      case 'database_outdated':
        return problem(c, 'database_outdated', {
          detail:
            'The database is older than the gateway. Apply the migrations: "npx wrangler d1 migrations apply DB --remote".',
        });
      case 'database_unavailable':
        return problem(c, 'unavailable', {
          detail: 'The database does not answer. Try again.',
          headers: { 'retry-after': String(RETRY_UNAVAILABLE_S) },
        });
    }
  });

  app.use('/status', limitOpenRoute);
  app.get('/status', async (c) => c.json(await publicStatus(c.var.context)));

  app.route('/', docsRoutes(openApiDocument));
  app.route('/v1', v1Routes);
  app.route('/worker', workerRoutes);
  app.route('/hooks', hooksRoutes);

  const methodsAt = methodsOf(() => app.routes);
  app.notFound((c) => {
    const methods = methodsAt(c.req.path);
    return methods === null
      ? problem(c, 'not_found', { detail: 'The resource does not exist.' })
      : methodNotAllowed(c, methods);
  });

  app.onError((error, c) => {
    log({
      event: 'uncaught',
      request_id: c.var.requestId,
      error: error.name,
      stack: redactKeys(error.stack ?? error.message),
    });
    if (resumes(c)) {
      return retryLater(c, newSeed);
    }
    return isTransient(error)
      ? problem(c, 'unavailable', {
          detail: 'A part of the platform is overloaded or restarting. Try again.',
          headers: { 'retry-after': String(RETRY_UNAVAILABLE_S) },
        })
      : problem(c, 'internal', { detail: 'The gateway failed. Its log has the cause under the request id.' });
  });

  return app;
}
