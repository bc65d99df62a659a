import { dryRun, type DryRun } from '../../../services/jobs/dry-run.ts';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { SUBMIT } from '../examples.ts';
import { renderResolved } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { dryRunSchema, type ApiDryRun } from '../schemas.ts';
import { withJobBody } from './body.ts';

/** `POST /v1/jobs/dry-run`: what a submit of this body would run, and its price. Stores, counts and sends nothing. */
const dryRunRoute = defineRoute({
  method: 'post',
  path: '/jobs/dry-run',
  access: { scope: 'jobs:write' },
  operationId: 'dryRunJob',
  summary: 'Show what a submit would run, and its price',
  body: { kind: 'streamed', content: { 'application/json': { schema: jobRequestSchema, example: SUBMIT } } },
  responses: { 200: jsonResponse('What would run', dryRunSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    const result = await withJobBody(c, 'job', (body) => dryRun(context, caller, body));
    if (!result.ok) {
      return result;
    }
    const { workflow, ...rest } = render(result.value);
    // The graph is text already and goes in as it is: parsing it here would round 64-bit seeds.
    const text = `{"workflow":${workflow},${JSON.stringify(rest).slice(1)}`;
    return c.body(text, 200, { 'content-type': 'application/json' });
  },
});

export const dryRunRoutes: readonly Route[] = [dryRunRoute];

const render = (run: DryRun): Omit<ApiDryRun, 'workflow'> & { workflow: string } => ({
  object: 'dry_run',
  ...run,
  resolved: renderResolved(run.resolved),
});
