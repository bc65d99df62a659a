import { z } from '@hono/zod-openapi';
import { isTerminal } from '../../../contract/job.ts';
import { getJob } from '../../../core/jobs/get.ts';
import { waitForJob } from '../../../core/jobs/wait.ts';
import { coreProblem, problem } from '../../problem.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';
import { headerRefs } from '../answers.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { POLL_AGAIN_S, WAIT_FAULT, waitQuery } from './poll.ts';

/**
 * `GET /v1/jobs/{id}`: the job as it is now. `?wait=n` answers when it is over, with `If-None-Match` when it has changed, or
 * after n seconds. `ETag` and 304 as in RFC 9110.
 */
export function registerGetJob(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}',
    operationId: 'getJob',
    summary: 'Get a job',
    request: {
      params: z.object({ id: z.uuid() }),
      query: waitQuery,
      headers: z.object({ 'if-none-match': z.string().optional() }),
    },
    responses: {
      200: jsonAnswer('The job', jobSchema, 'ETag', 'Retry-After'),
      304: { description: 'Nothing has changed', headers: headerRefs('ETag', 'Retry-After') },
    },
  });
  app.get('/jobs/:id', async (c) => {
    const { core, caller } = c.var;
    const id = c.req.param('id');
    const asked = waitQuery.safeParse(c.req.query());
    if (!asked.success) {
      return problem(c, 'invalid_parameter', { detail: WAIT_FAULT });
    }
    const seen = seenEvent(c.req.header('if-none-match'));
    const { wait } = asked.data;
    const found =
      wait === 0
        ? await getJob(core, caller, id)
        : await waitForJob(
            core,
            caller,
            id,
            seen === null ? { until: 'over' } : { until: 'changed', after: seen },
            wait,
            c.req.raw.signal,
          );
    if (!found.ok) {
      return coreProblem(c, found.problem);
    }
    const job = found.value;
    c.header('etag', `W/"${job.last_event}"`);
    c.header('cache-control', 'private, no-cache');
    if (!isTerminal(job.status)) {
      c.header('retry-after', String(POLL_AGAIN_S));
    }
    return seen === job.last_event ? c.body(null, 304) : c.json(renderJob(job, core.config.publicUrl));
  });
}

/**
 * The event an `If-None-Match` of ours stands for. The tag is weak and is the number of the last event: what changes without an
 * event (thinned progress) is not worth an answer of its own.
 */
function seenEvent(header: string | undefined): number | null {
  const match = /^(?:W\/)?"(\d{1,15})"$/.exec(header ?? '');
  return match?.[1] === undefined ? null : Number(match[1]);
}
