import { eraseJob } from '../../../services/jobs/erase.ts';
import { idParams } from '../params.ts';
import { defineRoute, type Route } from '../route.ts';

/** `DELETE /v1/jobs/{id}`: erases a finished job, with its log and outputs. */
const erase = defineRoute({
  method: 'delete',
  path: '/jobs/{id}',
  access: { scope: 'jobs:write' },
  operationId: 'eraseJob',
  summary: 'Erase a job',
  params: idParams,
  responses: { 204: { description: 'The job is erased' } },
  refusals: [409],
  async handle(c) {
    const erased = await eraseJob(c.var.context, c.var.caller, c.req.param('id'));
    return erased.ok ? c.body(null, 204) : erased;
  },
});

export const eraseRoutes: readonly Route[] = [erase];
