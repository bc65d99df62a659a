import { randomUUID } from 'node:crypto';
import { finished } from 'node:stream/promises';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { type Clock, systemClock } from './clock.ts';
import { parseConfig, type RunpodConfig, type RunpodOptions } from './config.ts';
import { FaultBook } from './core/faults.ts';
import { EventLog } from './events.ts';
import { adminFace } from './faces/admin.ts';
import { clientFace } from './faces/client.ts';
import type { FaceEnv, Platform } from './faces/guard.ts';
import { workerFace } from './faces/worker.ts';
import { KEEP_ALIVE_MS, WORKER_KEY } from './limits.ts';
import { Endpoint } from './platform/endpoint.ts';
import { type Launcher, processLauncher } from './platform/processes.ts';
import { startReaper } from './platform/reaper.ts';
import { type Post, postByFetch, Webhooks } from './platform/webhooks.ts';

export { type Clock, ManualClock } from './clock.ts';
export type { RunpodOptions } from './config.ts';
export type { PlatformEvent } from './events.ts';

/** Parts that a test can replace. */
export interface RunpodParts {
  /** The clock of retention, TTL, timeouts, idle times, rate windows and webhook delays. */
  clock?: Clock;
  /** Random part of job ids. */
  newId?: () => string;
  /** Sends webhooks. */
  post?: Post;
  /** Starts workers. */
  launcher?: Launcher;
}

/** A running platform. */
export interface RunningRunpod {
  /** `http://host:port`, without a slash at the end. The client API is at `${url}/v2`. */
  url: string;
  port: number;
  events: EventLog;
  /** Closes the port and kills every worker with its children. Safe to call twice. */
  close(): Promise<void>;
}

/** The settings are not valid; the message names the field. */
export class RunpodConfigError extends Error {
  override name = 'RunpodConfigError';
}

/**
 * Starts a RunPod on this machine and resolves once it listens.
 * Rejects with RunpodConfigError, or with Node's error (`code: "EADDRINUSE"`) if the port is in use.
 */
export async function startRunpod(options: RunpodOptions, parts: RunpodParts = {}): Promise<RunningRunpod> {
  const parsed = parseConfig(options);
  if (!parsed.ok) {
    throw new RunpodConfigError(parsed.problem);
  }
  const { config } = parsed;
  const clock = parts.clock ?? systemClock;
  const events = new EventLog(clock);
  const faults = new FaultBook();
  const webhooks = new Webhooks(clock, faults, parts.post ?? postByFetch);
  const reaper = startReaper();
  let url = '';
  const launcher =
    parts.launcher ??
    processLauncher({
      baseUrl: () => url,
      workerKey: config.worker_api_key ?? WORKER_KEY,
      logDir: config.log_dir,
      echo: config.echo_worker_logs ? (line) => process.stdout.write(`${line}\n`) : null,
      reaper,
    });
  const endpoints = new Map(
    config.endpoints.map((each) => [each.id, new Endpoint(each, { clock, events, webhooks, launcher })]),
  );
  const app = routes({
    clock,
    events,
    faults,
    webhooks,
    endpoints,
    clientKeys: config.api_keys === undefined ? null : new Set(config.api_keys),
    workerKey: config.worker_api_key ?? null,
    calls: new Map(),
    newId: parts.newId ?? randomUUID,
  });

  const server = createAdaptorServer({ fetch: app.fetch, serverOptions: { keepAliveTimeout: KEEP_ALIVE_MS } });
  const port = await listen(server, config);
  url = `http://${config.host}:${port}`;
  for (const endpoint of endpoints.values()) {
    endpoint.settle();
  }

  let closing: Promise<void> | null = null;
  return {
    url,
    port,
    events,
    close() {
      closing ??= (async () => {
        webhooks.close();
        await Promise.all([...endpoints.values()].map((endpoint) => endpoint.close()));
        await reaper.close();
        await new Promise<void>((resolve) => {
          server.close(() => resolve());
          if ('closeAllConnections' in server) {
            server.closeAllConnections();
          }
        });
      })();
      return closing;
    },
  };
}

function routes(platform: Platform): Hono<FaceEnv> {
  const app = new Hono<FaceEnv>();
  app.use(async (c, next) => {
    await next();
    await readRest(c.env.incoming);
  });
  app.route('/', clientFace(platform));
  app.route('/', workerFace(platform));
  app.route('/', adminFace(platform));
  app.notFound((c) => c.json({ error: 'not found' }, 404));
  return app;
}

/**
 * Reads a request to its end before it is answered: the adaptor cuts the connection of a client that still writes half a
 * second after the response, and most clients read only after they have written the whole body.
 */
async function readRest(incoming: FaceEnv['Bindings']['incoming']): Promise<void> {
  if (incoming.complete || incoming.destroyed) {
    return;
  }
  incoming.resume();
  await finished(incoming, { writable: false }).catch(() => {});
}

function listen(server: ReturnType<typeof createAdaptorServer>, config: RunpodConfig): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, config.host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(address === null || typeof address === 'string' ? config.port : address.port);
    });
  });
}
