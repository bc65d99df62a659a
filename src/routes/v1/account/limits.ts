import { z } from '@hono/zod-openapi';
import type { AccountLimits } from '../../../contract/limits.ts';
import { ownLimitsSchema } from '../../../contract/limits.ts';
import { getLimits, setLimits } from '../../../services/account/limits.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';

const limitsSchema = z
  .object({
    object: z.literal('limits'),
    account: z.string(),
    jobs_in_flight: z.int(),
    max_queued: z.int(),
    submits_per_minute: z.int(),
    usd_per_day: z.number().nullable(),
    gpu_seconds_per_day: z.number().nullable(),
    stored_bytes: z.int().nullable(),
    retention: z.number(),
    asset_retention: z.number(),
  })
  .openapi('Limits');

const render = (account: string, limits: AccountLimits): z.infer<typeof limitsSchema> => ({
  object: 'limits',
  account,
  jobs_in_flight: limits.jobs_in_flight,
  max_queued: limits.max_queued,
  submits_per_minute: limits.submits_per_minute,
  usd_per_day: limits.usd_per_day ?? null,
  gpu_seconds_per_day: limits.gpu_seconds_per_day ?? null,
  stored_bytes: limits.stored_bytes ?? null,
  retention: limits.retention,
  asset_retention: limits.asset_retention,
});

const LIMITS = {
  path: '/accounts/{account}/limits',
  params: z.object({ account: z.string() }),
  responses: { 200: jsonResponse('The limits of the account', limitsSchema) },
} as const;

const getAccountLimits = defineRoute({
  ...LIMITS,
  method: 'get',
  access: { scope: 'usage:read', operator: true },
  operationId: 'getLimits',
  summary: 'Get the limits of an account',
  async handle(c) {
    const { context, actor } = c.var;
    const account = c.req.param('account');
    const found = await getLimits(context, actor, account);
    return found.ok ? c.json(render(account, found.value)) : found;
  },
});

const setAccountLimits = defineRoute({
  ...LIMITS,
  method: 'put',
  access: { scope: 'admin', operator: true },
  operationId: 'setLimits',
  summary: 'Give an account its own limits (operator)',
  body: jsonBody(ownLimitsSchema, { example: { jobs_in_flight: 50, usd_per_day: 20 } }),
  async handle(c, { body }) {
    const { context, actor } = c.var;
    const account = c.req.param('account');
    const set = await setLimits(context, actor, account, body);
    return set.ok ? c.json(render(account, set.value)) : set;
  },
});

/** `/v1/accounts/{account}/limits`. */
export const limitRoutes: readonly Route[] = [getAccountLimits, setAccountLimits];
