// Written by `npm run types` from wrangler.jsonc. Do not edit.
import type { ConfigName } from './config/names.ts';
import type { AccountRpc, EndpointRpc, JobRpc, ObjectNamespace, WebhookRpc } from './contract/rpc.ts';

/** Bindings, variables and secrets as the platform hands them over; `config/schema.ts` checks them. */
export type Env = {
  BUCKET: R2Bucket;
  DB: D1Database;
  JOB: ObjectNamespace<JobRpc>;
  ACCOUNT: ObjectNamespace<AccountRpc>;
  WEBHOOK: ObjectNamespace<WebhookRpc>;
  ENDPOINT: ObjectNamespace<EndpointRpc>;
} & Partial<Record<RateLimitName, RateLimit>> &
  Partial<Record<ConfigName, string>>;

/** Bindings to the platform's rate limits. The gateway works without any of them. */
export const RATE_LIMIT_NAMES = ['RATE_LIMIT_BAD_KEY', 'RATE_LIMIT_OPEN', 'RATE_LIMIT_KEY'] as const;
export type RateLimitName = (typeof RATE_LIMIT_NAMES)[number];
