import { z } from '@hono/zod-openapi';
import { listJobs } from '../../../services/jobs/list.ts';
import { coreProblem } from '../../http/problem.ts';
import { refuse } from '../../http/body.ts';
import { renderJobSummary } from '../render.ts';
import { jobPageSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { jobListQuery, readJobListQuery } from './list-query.ts';

/** `GET /v1/jobs`: the account's jobs that fit every filter, newest first. */
export function registerListJobs(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs',
    operationId: 'listJobs',
    summary: 'List jobs',
    request: {
      query: jobListQuery.extend({
        'metadata.{name}': z
          .string()
          .optional()
          .openapi({ description: 'Jobs whose metadata has this value under this name; up to four of them' }),
      }),
    },
    responses: { 200: jsonAnswer('A page of jobs, newest first', jobPageSchema) },
  });
  app.get('/jobs', async (c) => {
    const asked = readJobListQuery(c.req.queries());
    if (!asked.ok) {
      return refuse(c, asked.problem);
    }
    const { core, caller } = c.var;
    const { limit, cursor, filters } = asked.value;
    const page = await listJobs(core, caller, { limit, cursor }, filters);
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { jobs, next_cursor } = page.value;
    const data = jobs.map((job) => renderJobSummary(job, core.config.publicUrl));
    return c.json({ data, has_more: next_cursor !== null, next_cursor });
  });
}
