import { env, exports } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { createApp, type AppParts } from '../app.ts';
import { testBindings } from '../../test/gateway-bindings.ts';
import { ERROR_CODES } from '../contract/errors.ts';
import { typeOf } from '../routes/http/problem.ts';
import { jobErrorSchema, jobSchema, type ApiJob } from '../routes/v1/schemas.ts';
import type { Env } from '../env.ts';
import { Contract, checkedAgainst } from './contract/contract.ts';
import { collectViolations } from './contract/violations.ts';

/** The gateway as a client uses it, inside workerd: real D1, R2 and Durable Objects, and a RunPod that the test provides. */

export const ORIGIN = testBindings.PUBLIC_URL;
export const ADMIN_TOKEN = testBindings.ADMIN_TOKEN;

/** The smallest valid graph. */
export const GRAPH = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};

/** A PNG of one pixel. */
export const PNG = Uint8Array.fromBase64(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
);

/** A PNG whose header states this size; its pixels are those of `PNG`. */
export function pictureOf(width: number, height: number): Uint8Array<ArrayBuffer> {
  const bytes = PNG.slice();
  const view = new DataView(bytes.buffer);
  view.setUint32(16, width);
  view.setUint32(20, height);
  return bytes;
}

/** `where` is a path, or a URL that the gateway returned. */
export type Call = (where: string, init?: RequestInit) => Promise<Response>;

/** A call without a key. */
export const anyone: Call = (where, init) =>
  checkedGateway(new Request(where.startsWith('/') ? ORIGIN + where : where, init));

/** The OpenAPI document as the gateway serves it, once per test file. */
let contract: Promise<Contract> | undefined;
const servedContract = (): Promise<Contract> =>
  (contract ??= exports.default
    .fetch(new Request(`${ORIGIN}/openapi.json`))
    .then(async (response) => new Contract(await response.json())));

/** The gateway. A response that violates its OpenAPI document fails the test. */
const note = collectViolations();
const checkedGateway = checkedAgainst(servedContract, note, (request) => exports.default.fetch(request));

/** A gateway with dependencies of the test: a clock, a setting, a part that fails. */
export function ownGateway(parts: AppParts = {}): {
  fetch: (request: Request, bindings: Env, context?: ExecutionContext) => Promise<Response>;
} {
  const app = createApp({ log: () => {}, ...parts });
  return {
    fetch: checkedAgainst(servedContract, note, (request: Request, bindings: Env, context?: ExecutionContext) =>
      app.fetch(request, bindings, context),
    ),
  };
}

/** Creates an account with a key; `call` sends it. Each account is new, so no test sees the jobs of another. */
export async function newClient(
  account = `a${crypto.randomUUID()}`,
): Promise<{ account: string; key: string; call: Call }> {
  const response = await anyone('/v1/keys', {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ account, environment: 'test' }),
  });
  expect(response.status).toBe(201);
  const { key } = z.object({ key: z.string() }).parse(await response.json());
  const call: Call = (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${key}`);
    return anyone(path, { ...init, headers });
  };
  return { account, key, call };
}

export const postJson = (body: unknown): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** Submits a job and expects 201. */
export async function submitted(call: Call, body: Record<string, unknown> = {}): Promise<ApiJob> {
  const response = await call('/v1/jobs', postJson({ workflow: GRAPH, ...body }));
  expect(response.status).toBe(201);
  return jobSchema.parse(await response.json());
}

/** A text for people begins like a sentence and ends like one. */
const sentence = z.string().regex(/^[A-Z"].*[.]$/s);

const problemShape = z.strictObject({
  type: z.string(),
  title: z.string().min(1),
  status: z.int().min(400).max(599),
  detail: sentence,
  code: z.enum(ERROR_CODES),
  request_id: z.string().min(1),
  errors: z
    .array(z.strictObject({ pointer: z.string().startsWith('#'), code: z.string(), detail: sentence }))
    .optional(),
  'violated-policies': z.array(z.string()).optional(),
  job: z.strictObject({ id: z.string(), status: z.string(), error: jobErrorSchema.nullable() }).optional(),
  poll: z.url().optional(),
});
export type SeenProblem = z.infer<typeof problemShape>;

/** Parses a problem response and checks what all problems have in common. */
export async function problemOf(response: Response): Promise<SeenProblem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const seen = problemShape.parse(await response.json());
  expect(seen.status).toBe(response.status);
  expect(seen.type).toBe(typeOf(seen.code, ORIGIN));
  expect(response.headers.get('x-request-id')).toBe(seen.request_id);
  return seen;
}

const runBody = z.object({ input: z.object({ job: z.string() }) });

/** A RunPod for the rest of the test. Returns the URLs called, and the jobs of `/run`. */
export function answerRunpod(): { calls: string[]; runs: string[] } {
  const calls: string[] = [];
  const runs: string[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    calls.push(request.url);
    const id = `run-${calls.length}`;
    if (request.url.endsWith('/run')) {
      const ticket = runBody.safeParse(await request.json());
      runs.push(ticket.data?.input.job ?? '');
    }
    return Response.json({ id, status: 'IN_QUEUE' });
  });
  onTestFinished(() => spy.mockRestore());
  return { calls, runs };
}

/** Counts the rows in D1 and the files in R2 of an account. */
export async function storedOf(account: string): Promise<{ jobs: number; objects: number }> {
  const jobs = await env.DB.prepare('SELECT count(*) AS n FROM jobs WHERE account = ?')
    .bind(account)
    .first<number>('n');
  const lists = await Promise.all(
    ['assets', 'outputs', 'uploads'].map((prefix) => env.BUCKET.list({ prefix: `${prefix}/${account}/` })),
  );
  return { jobs: jobs ?? 0, objects: lists.reduce((sum, list) => sum + list.objects.length, 0) };
}
