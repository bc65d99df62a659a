import { z } from '@hono/zod-openapi';
import { STATUSES } from '../../../contract/job.ts';
import { listJobs } from '../../../core/jobs/list.ts';
import { coreProblem } from '../../problem.ts';
import { refuse } from '../body.ts';
import { pageFields, readListQuery } from '../page-query.ts';
import { renderJobSummary } from '../render.ts';
import { jobPageSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

const query = z.object({ ...pageFields, status: z.enum(STATUSES).optional() });

/** `GET /v1/jobs`: the account's jobs, newest first. */
export function registerListJobs(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs',
    operationId: 'listJobs',
    summary: 'List jobs',
    request: { query },
    responses: { 200: jsonAnswer('A page of jobs, newest first', jobPageSchema) },
  });
  app.get('/jobs', async (c) => {
    const asked = readListQuery(query, c.req.query());
    if (!asked.ok) {
      return refuse(c, asked.problem);
    }
    const { core, caller } = c.var;
    const { limit, cursor, status = null } = asked.value;
    const page = await listJobs(core, caller, { limit, cursor, status });
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { jobs, next_cursor } = page.value;
    const data = jobs.map((job) => renderJobSummary(job, core.config.publicUrl));
    return c.json({ data, has_more: next_cursor !== null, next_cursor });
  });
}
