import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Log, LogLevel, Miniflare, type Request, type RequestInit, Response } from 'miniflare';
import { testBindings } from '../gateway-bindings.ts';

/**
 * The gateway in real workerd with code of two releases in it: the Worker and each class of objects run one or the other, as they do for some
 * minutes after a deploy.
 */

export type Release = 'this' | 'previous';
export const CLASSES = { JOB: 'Job', ACCOUNT: 'Account', WEBHOOK: 'Webhook', ENDPOINT: 'Endpoint' } as const;
export type Part = 'WORKER' | keyof typeof CLASSES;
export type Mix = Record<Part, Release>;

const root = resolve(import.meta.dirname, '..', '..');
const MIGRATIONS = join(root, 'migrations');
const [, COMPATIBILITY_DATE = ''] =
  /"compatibility_date": "(.*)"/.exec(readFileSync(join(root, 'wrangler.jsonc'), 'utf8')) ?? [];

/** Events of the log that a failed call between Worker and objects leaves (docs/operations/monitor.md). */
const FAILURE = /"event":"(?:uncaught|\w+_failed|\w+_untold|endpoint_unreachable)"|^Uncaught/;

/** A picture of one pixel: what any other host gives. */
export const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

/** A run at RunPod: the worker's ticket, and the webhook URL for its end. */
export type Run = { ticket: { job: string; attempt: number; token: string }; webhook: string };

export interface MixedGateway {
  /** Calls the gateway. */
  call(path: string, init?: RequestInit): Promise<Response>;
  /** The sweep that runs every five minutes in production. */
  sweep(): Promise<void>;
  /** Accepted runs, in their order. */
  readonly runs: readonly Run[];
  /** Bodies sent to webhooks. */
  readonly delivered: readonly string[];
  /** Responses of 500 and above, and log lines of failures. */
  readonly faults: readonly string[];
  stop(): Promise<void>;
}

export async function startMixedGateway(code: Record<Release, string>, mix: Mix): Promise<MixedGateway> {
  const runs: Run[] = [];
  const delivered: string[] = [];
  const faults: string[] = [];

  const outside = async (request: Request): Promise<Response> => {
    const { host, pathname } = new URL(request.url);
    if (host === new URL(testBindings.RUNPOD_BASE_URL).host) {
      const operation = pathname.split('/')[3];
      if (operation === 'run') {
        const { input, webhook } = (await request.json()) as { input: Run['ticket']; webhook: string };
        runs.push({ ticket: input, webhook });
      }
      return operation === 'health'
        ? Response.json({
            jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
            workers: { idle: 1 },
          })
        : Response.json({ id: `run-${runs.length}`, status: operation === 'cancel' ? 'CANCELLED' : 'IN_PROGRESS' });
    }
    if (request.method === 'GET') {
      return new Response(PNG);
    }
    delivered.push(await request.text());
    return new Response('taken');
  };

  const handleStructuredLogs = ({ message }: { message: string }): void => {
    if (FAILURE.test(message)) {
      faults.push(message);
    }
  };

  const text = (value: string) => ({ type: 'text' as const, value });
  const script = (release: Release) => ({
    config: {
      name: release,
      compatibilityDate: COMPATIBILITY_DATE,
      manifest: {
        mainModule: 'index.js',
        modules: { 'index.js': { type: 'esm' as const, contents: code[release] } },
      },
      exports: Object.fromEntries(
        Object.values(CLASSES).map((name) => [name, { type: 'durable-object' as const, storage: 'sqlite' as const }]),
      ),
      env: {
        ...Object.fromEntries(Object.entries(testBindings).map(([name, value]) => [name, text(value)])),
        ...Object.fromEntries(
          (['JOB', 'ACCOUNT', 'WEBHOOK', 'ENDPOINT'] as const).map((name) => [
            name,
            { type: 'durable-object' as const, worker: mix[name], exportName: CLASSES[name] },
          ]),
        ),
        DB: { type: 'd1' as const, id: 'comfy-edge' },
        BUCKET: { type: 'r2' as const, name: 'comfy-edge' },
      },
    },
    dev: { outboundService: { type: 'fetcher' as const, handler: outside } },
  });
  const releases: Release[] = mix.WORKER === 'this' ? ['this', 'previous'] : ['previous', 'this'];
  const miniflare = new Miniflare({ workers: releases.map(script), log: new Log(LogLevel.NONE), handleStructuredLogs });
  await miniflare.ready;
  await migrate(miniflare);

  return {
    runs,
    delivered,
    faults,
    call: async (path, init) => {
      const answer = await miniflare.dispatchFetch(new URL(path, testBindings.PUBLIC_URL), init);
      if (answer.status >= 500) {
        faults.push(`${init?.method ?? 'GET'} ${path}: ${answer.status} ${await answer.clone().text()}`);
      }
      return answer;
    },
    sweep: async () => {
      await (await miniflare.getWorker()).scheduled({ cron: '*/5 * * * *' });
    },
    stop: () => miniflare.dispose(),
  };
}

/** The database as a deploy leaves it: with every migration of this release. */
async function migrate(miniflare: Miniflare): Promise<void> {
  const database = await miniflare.getD1Database('DB');
  for (const name of readdirSync(MIGRATIONS).sort()) {
    const statements = readFileSync(join(MIGRATIONS, name), 'utf8')
      .split('\n')
      .map((line) => line.replace(/--.*$/, ''))
      .join(' ')
      .split(';')
      .filter((statement) => statement.trim() !== '');
    await database.batch(statements.map((statement) => database.prepare(statement)));
  }
}
