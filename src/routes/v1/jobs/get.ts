import { z } from '@hono/zod-openapi';
import { isTerminal, type JobView } from '../../../contract/job.ts';
import { getJob } from '../../../services/jobs/get.ts';
import { linksNow, linksOf, signOutputs } from '../../../services/jobs/signed-urls.ts';
import { waitForJob } from '../../../services/jobs/wait.ts';
import { coreProblem, problem } from '../../http/problem.ts';
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
    const { core, caller, readUntil } = c.var;
    const id = c.req.param('id');
    const asked = waitQuery.safeParse(c.req.query());
    if (!asked.success) {
      return problem(c, 'invalid_parameter', { detail: WAIT_FAULT });
    }
    const seen = seenTag(c.req.header('if-none-match'));
    // Links the client has that will not last are news by themselves: there is nothing to wait for.
    const outdated = seen !== null && seen.links !== null && seen.links !== linksNow(core.clock(), readUntil);
    const { wait } = asked.data;
    const found =
      wait === 0 || outdated
        ? await getJob(core, caller, id)
        : await waitForJob(
            core,
            caller,
            id,
            seen === null ? { until: 'over' } : { until: 'changed', after: seen.event },
            wait,
            c.req.raw.signal,
          );
    if (!found.ok) {
      return coreProblem(c, found.problem);
    }
    const job = found.value;
    const tag: Tag = { event: job.last_event, links: linksOf(job, core.clock(), readUntil), progress: perMille(job) };
    c.header('etag', writeTag(tag));
    c.header('cache-control', 'private, no-cache');
    if (!isTerminal(job.status)) {
      c.header('retry-after', String(POLL_AGAIN_S));
    }
    return seen !== null && writeTag(seen) === writeTag(tag)
      ? c.body(null, 304)
      : c.json(renderJob(job, core.config.publicUrl, await signOutputs(core, job, readUntil)));
  });
}

/**
 * What an `ETag` of ours stands for: the last event the client has, which links (`linksNow`) where the job has files, and how far the graph
 * was, which moves between events. Weak: the bytes of two answers with the same tag may differ.
 */
type Tag = { event: number; links: number | null; progress: number | null };

const writeTag = ({ event, links, progress }: Tag): string =>
  `W/"${event}${links === null ? '' : `-${links}`}${progress === null ? '' : `.${progress}`}"`;

const perMille = ({ status, progress }: JobView): number | null =>
  progress === null || isTerminal(status) ? null : Math.round(progress.value * 1000);

/** What an `If-None-Match` names; null for none, and for one that is not ours. */
function seenTag(header: string | undefined): Tag | null {
  const [, event, links, progress] = /^(?:W\/)?"(\d{1,15})(?:-(\d{1,15}))?(?:\.(\d{1,4}))?"$/.exec(header ?? '') ?? [];
  const number = (digits: string | undefined): number | null => (digits === undefined ? null : Number(digits));
  return event === undefined ? null : { event: Number(event), links: number(links), progress: number(progress) };
}
