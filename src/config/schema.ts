import { z } from 'zod';
import { adviceOn } from './advice.ts';
import { limitsSchema, policySchema, type Limits, type Policy } from '../contract/limits.ts';
import { wait } from '../contract/timeouts.ts';
import {
  baseUrl,
  bucketName,
  json,
  origin,
  ownSecret,
  pageOrigin,
  runpodId,
  sharedSecrets,
  vendorSecret,
} from './values.ts';
import { WORKERS } from '../contract/run.ts';
import type { Env } from '../env.ts';

/** Which node classes may run. Names are exact but for `*` (any characters) and `?` (one). */
export const nodePolicySchema = z.strictObject({
  allow: z.array(z.string().min(1)).optional(),
  deny: z.array(z.string().min(1)).optional(),
});
export type NodePolicy = z.infer<typeof nodePolicySchema>;

const count = z.int().positive().optional();

/**
 * Limits of a graph on an endpoint. A missing limit is unlimited. `on_limit`: refuse the graph, or lower its values.
 */
export const graphLimitsSchema = z.strictObject({
  max_pixels: count,
  max_frames: count,
  max_steps: count,
  max_batch: count,
  max_nodes: count,
  max_workflow_bytes: count,
  on_limit: z.enum(['refuse', 'clamp']).default('refuse'),
});
export type GraphLimits = z.infer<typeof graphLimitsSchema>;

/** Price of the endpoint's GPU in US dollars, and the typical duration of a job, for estimates. */
const priceSchema = z.strictObject({
  per_second: z.number().nonnegative(),
  typical_seconds: z.number().positive().optional(),
});
export type EndpointPrice = z.infer<typeof priceSchema>;

/** The circuit breaker of an endpoint (docs/reference/configuration.md). Times are in seconds. */
export const breakerSchema = z.strictObject({
  /** Calls that fail within `window`, at least half of all, open it. */
  failures: z.int().positive().default(5),
  window: wait.default(60),
  /** How long it first stays open; doubles up to two minutes. */
  pause: wait.default(10),
  /** Runs that wait for this time without any worker open it. RunPod finds a machine faster. */
  no_workers_after: wait.default(180),
  /** While it is open, submits are refused when this number of jobs waits. */
  max_backlog: z.int().nonnegative().default(100),
});

export const endpointSchema = z.strictObject({
  runpod_id: runpodId,
  /** The kind of worker there. Another image must accept the input of `worker-comfyui` and answer as it does. */
  worker: z.enum(WORKERS).default('worker-gpu'),
  /** The environment of the keys that may use it. The operator decides whether test keys reach a GPU. */
  environment: z.enum(['test', 'live', 'any']).default('live'),
  nodes: nodePolicySchema.optional(),
  limits: graphLimitsSchema.prefault({}),
  /** Let nodes fetch URLs themselves. The gateway does not see these requests. */
  allow_urls: z.boolean().default(false),
  price: priceSchema.optional(),
  breaker: breakerSchema.prefault({}),
  /** Name of the endpoint to use while this one's breaker is open. */
  fallback: z.string().optional(),
  /** Show it in the public status. */
  listed: z.boolean().default(false),
});
export type Endpoint = z.infer<typeof endpointSchema>;

/**
 * A fallback must exist, lead to an end, run the same kind of worker, be for the keys that the endpoint is for, and
 * have a price exactly if the endpoint has one: a budget could not be kept otherwise.
 */
function checkFallbacks(all: Record<string, Endpoint>, context: z.RefinementCtx): void {
  for (const [name, endpoint] of Object.entries(all)) {
    const { fallback } = endpoint;
    if (fallback === undefined) {
      continue;
    }
    const message = fallbackIssue(all, name, endpoint, fallback);
    if (message !== null) {
      context.addIssue({ code: 'custom', message, path: [name, 'fallback'] });
    }
  }
}

function fallbackIssue(
  all: Record<string, Endpoint>,
  name: string,
  endpoint: Endpoint,
  fallback: string,
): string | null {
  const target = Object.hasOwn(all, fallback) ? all[fallback] : undefined;
  if (target === undefined) {
    return 'is not the name of an endpoint';
  }
  if (target.environment !== 'any' && target.environment !== endpoint.environment) {
    return 'is not for the same keys (environment)';
  }
  if (target.worker !== endpoint.worker) {
    return 'has another kind of worker';
  }
  if ((target.price === undefined) !== (endpoint.price === undefined)) {
    return 'has a price and this endpoint none, or the other way round';
  }
  return fallbacksOf(all, name).includes(name) ? 'leads back to this endpoint' : null;
}

/** The endpoints that may stand in for one, in order: its fallback, the fallback of that, and so on. */
export function fallbacksOf(all: Record<string, Endpoint>, name: string): string[] {
  const chain: string[] = [];
  let next = all[name]?.fallback;
  while (next !== undefined && !chain.includes(next) && Object.hasOwn(all, next)) {
    chain.push(next);
    next = all[next]?.fallback;
  }
  return chain;
}

const configSchema = z.object({
  PUBLIC_URL: origin,
  RUNPOD_BASE_URL: baseUrl.default('https://api.runpod.ai/v2'),
  ENDPOINTS: json(
    z
      .record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/), endpointSchema)
      .refine((all) => Object.keys(all).length > 0, 'names no endpoint')
      .superRefine(checkFallbacks),
  ),
  POLICY: json(policySchema, '{}'),
  LIMITS: json(limitsSchema, '{}'),
  CORS_ORIGINS: json(z.array(pageOrigin), '[]'),
  R2_S3_ENDPOINT: baseUrl,
  R2_BUCKET: bucketName.default('comfy-edge'),
  TOKEN_SECRET: ownSecret,
  ADMIN_TOKEN: ownSecret,
  RUNPOD_API_KEY: vendorSecret,
  R2_ACCESS_KEY_ID: vendorSecret,
  R2_SECRET_ACCESS_KEY: vendorSecret,
});

/** The gateway's configuration, checked. Immutable for the life of an isolate. */
export type Config = {
  publicUrl: string;
  runpod: { baseUrl: string; apiKey: string };
  endpoints: Record<string, Endpoint>;
  policy: Policy;
  limits: Limits;
  /** Whose pages may call with keys; `*`: everybody's. */
  corsOrigins: readonly string[];
  s3: { endpoint: string; bucket: string; accessKeyId: string; secretAccessKey: string };
  tokenSecret: string;
  adminToken: string;
};

/** `advice`: settings that are valid but may be unintended, for the log. */
export type ConfigResult = { ok: true; config: Config; advice: string[] } | { ok: false; problems: string[] };

/** Checks bindings, variables and secrets. Problems name the setting and never quote a value. */
export function readConfig(env: Env): ConfigResult {
  const problems: string[] = [];
  for (const binding of ['JOB', 'ACCOUNT', 'WEBHOOK', 'ENDPOINT', 'DB', 'BUCKET'] as const) {
    if (env[binding] === undefined) {
      problems.push(`${binding}: binding is missing`);
    }
  }
  const parsed = configSchema.safeParse(env);
  if (!parsed.success) {
    problems.push(...parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`));
  }
  problems.push(...sharedSecrets(env));
  if (!parsed.success || problems.length > 0) {
    return { ok: false, problems };
  }
  const values = parsed.data;
  return {
    ok: true,
    advice: adviceOn(values.ENDPOINTS, env),
    config: {
      publicUrl: values.PUBLIC_URL,
      runpod: { baseUrl: values.RUNPOD_BASE_URL, apiKey: values.RUNPOD_API_KEY },
      endpoints: values.ENDPOINTS,
      policy: values.POLICY,
      limits: values.LIMITS,
      corsOrigins: values.CORS_ORIGINS,
      s3: {
        endpoint: values.R2_S3_ENDPOINT,
        bucket: values.R2_BUCKET,
        accessKeyId: values.R2_ACCESS_KEY_ID,
        secretAccessKey: values.R2_SECRET_ACCESS_KEY,
      },
      tokenSecret: values.TOKEN_SECRET,
      adminToken: values.ADMIN_TOKEN,
    },
  };
}

const checked = new WeakMap<Env, ConfigResult>();

/** `readConfig`, once per isolate and environment. */
export function configOf(env: Env): ConfigResult {
  const known = checked.get(env);
  if (known !== undefined) {
    return known;
  }
  const result = readConfig(env);
  checked.set(env, result);
  return result;
}

/** For code behind the entry's check, where a bad configuration can no longer occur. */
export function requireConfig(env: Env): Config {
  const result = configOf(env);
  if (!result.ok) {
    throw new Error(`misconfigured: ${result.problems.join('; ')}`);
  }
  return result.config;
}
