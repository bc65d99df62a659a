import { z } from '@hono/zod-openapi';
import { STATUSES } from '../../../contract/job.ts';
import { listJobs } from '../../../core/jobs/list.ts';
import { coreProblem, problem } from '../../problem.ts';
import { renderJobSummary } from '../render.ts';
import { jobPageSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, problemAnswer, type V1App } from '../v1-app.ts';

const MAX_LIMIT = 100;
const DEFAULT_LIMIT = 20;

const query = z.object({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(1).max(MAX_LIMIT))
    .optional(),
  cursor: z.string().min(1).max(200).optional(),
  status: z.enum(STATUSES).optional(),
});

/** `GET /v1/jobs`: the account's jobs, newest first. */
export function registerListJobs(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs',
    operationId: 'listJobs',
    summary: 'List jobs',
    request: { query },
    responses: { 200: jsonAnswer('A page of jobs, newest first', jobPageSchema), ...problemAnswer },
  });
  app.get('/jobs', async (c) => {
    const asked = query.safeParse(c.req.query());
    if (!asked.success) {
      const [issue] = asked.error.issues;
      const name = String(issue?.path[0] ?? 'query');
      const code = name === 'cursor' ? 'invalid_cursor' : 'invalid_parameter';
      return problem(c, code, { detail: `${name}: ${issue?.message ?? 'not valid'}` });
    }
    const { core, caller } = c.var;
    const { limit = DEFAULT_LIMIT, cursor = null, status = null } = asked.data;
    const page = await listJobs(core, caller, { limit, cursor, status });
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { jobs, next_cursor } = page.value;
    const data = jobs.map((job) => renderJobSummary(job, core.config.publicUrl));
    return c.json({ data, has_more: next_cursor !== null, next_cursor });
  });
}
