/** Bindings, variables and secrets as the platform hands them over; `config/schema.ts` checks the strings. Objects are reached through `durable-objects/shared/stubs.ts`. */
export type Env = {
  JOB: DurableObjectNamespace;
  ACCOUNT: DurableObjectNamespace;
  WEBHOOK: DurableObjectNamespace;
  ENDPOINT: DurableObjectNamespace;
  DB: D1Database;
  BUCKET: R2Bucket;
} & Partial<Record<ShieldName, RateLimit>> &
  Partial<Record<ConfigName, string>>;

/** Bindings to the platform's rate limits (services/auth/edge-rate-limit.ts). A gateway can do without each. */
export const SHIELD_NAMES = ['SHIELD_BAD_KEY', 'SHIELD_OPEN', 'SHIELD_KEY'] as const;
export type ShieldName = (typeof SHIELD_NAMES)[number];

/** Names of the variables and secrets (docs/reference/configuration.md). */
export const CONFIG_NAMES = [
  'PUBLIC_URL',
  'RUNPOD_BASE_URL',
  'ENDPOINTS',
  'POLICY',
  'LIMITS',
  'CORS_ORIGINS',
  'R2_S3_ENDPOINT',
  'R2_BUCKET',
  'TOKEN_SECRET',
  'ADMIN_TOKEN',
  'RUNPOD_API_KEY',
  'R2_ACCESS_KEY_ID',
  'R2_SECRET_ACCESS_KEY',
] as const;
export type ConfigName = (typeof CONFIG_NAMES)[number];
