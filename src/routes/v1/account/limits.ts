import { z } from '@hono/zod-openapi';
import type { AccountLimits } from '../../../config/schema.ts';
import { accountLimitsSchema, getLimits, setLimits } from '../../../services/account/limits.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

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

/** `GET` and `PUT /v1/accounts/{account}/limits`. */
export function registerLimits(app: V1App): void {
  const route = {
    path: '/accounts/{account}/limits',
    responses: { 200: jsonAnswer('The limits that hold', limitsSchema) },
  };
  const params = z.object({ account: z.string() });
  describeRoute(app, {
    ...route,
    method: 'get',
    operationId: 'getLimits',
    summary: 'Get the limits of an account',
    request: { params },
  });
  app.get('/accounts/:account/limits', async (c) => {
    const { core, actor } = c.var;
    const account = c.req.param('account');
    const found = await getLimits(core, actor, account);
    return found.ok ? c.json(render(account, found.value)) : coreProblem(c, found.problem);
  });

  describeRoute(app, {
    ...route,
    method: 'put',
    operationId: 'setLimits',
    summary: 'Give an account its own limits (operator)',
    request: { params, body: { required: true, content: { 'application/json': { schema: accountLimitsSchema } } } },
  });
  app.put('/accounts/:account/limits', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, actor } = c.var;
    const account = c.req.param('account');
    const set = await setLimits(core, actor, account, body.value);
    return set.ok ? c.json(render(account, set.value)) : coreProblem(c, set.problem);
  });
}
