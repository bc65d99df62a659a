import { dryRun, type DryRun } from '../../../services/jobs/dry-run.ts';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { refuse } from '../../http/body.ts';
import { renderResolved } from '../render.ts';
import { dryRunSchema, type ApiDryRun } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { withJobBody } from './body.ts';

/** `POST /v1/jobs/dry-run`: what a submit of this body would run, and its price. Stores, counts and sends nothing. */
export function registerDryRun(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs/dry-run',
    operationId: 'dryRunJob',
    summary: 'Say what a submit would run, and its price',
    request: { body: { required: true, content: { 'application/json': { schema: jobRequestSchema } } } },
    responses: { 200: jsonAnswer('What would run', dryRunSchema) },
  });
  app.post('/jobs/dry-run', async (c) => {
    const { core, caller } = c.var;
    const result = await withJobBody(c, 'job', (body) => dryRun(core, caller, body));
    if (!result.ok) {
      return refuse(c, result.problem);
    }
    const { workflow, ...rest } = render(result.value);
    // The graph is text already and goes in as it is: parsing it here would round 64-bit seeds.
    const text = `{"workflow":${workflow},${JSON.stringify(rest).slice(1)}`;
    return c.body(text, 200, { 'content-type': 'application/json' });
  });
}

const render = (run: DryRun): Omit<ApiDryRun, 'workflow'> & { workflow: string } => ({
  object: 'dry_run',
  ...run,
  resolved: renderResolved(run.resolved),
});
