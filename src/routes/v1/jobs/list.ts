import { listJobs } from '../../../services/jobs/list.ts';
import { renderPage } from '../page.ts';
import { renderJobSummary } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { jobPageSchema } from '../schemas.ts';
import { jobListQuery } from './list-query.ts';

/** `GET /v1/jobs`: the account's jobs that match every filter, newest first. */
const list = defineRoute({
  method: 'get',
  path: '/jobs',
  access: { scope: 'jobs:read' },
  operationId: 'listJobs',
  summary: 'List jobs',
  query: jobListQuery,
  responses: { 200: jsonResponse('A page of jobs, newest first', jobPageSchema) },
  async handle(c, { query: { page, filters } }) {
    const { context, caller } = c.var;
    const jobs = await listJobs(context, caller, page, filters);
    return jobs.ok ? c.json(renderPage(jobs.value, (job) => renderJobSummary(job, context.config.publicUrl))) : jobs;
  },
});

export const listRoutes: readonly Route[] = [list];
