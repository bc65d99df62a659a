import { isTerminal, type JobView } from '../../../contract/job.ts';
import { z } from '@hono/zod-openapi';
import { getJob } from '../../../services/jobs/get.ts';
import { linksNow, linksOf, signOutputs } from '../../../services/jobs/signed-urls.ts';
import { waitForJob } from '../../../services/jobs/wait.ts';
import { QUEUED_JOB } from '../examples.ts';
import { idParams } from '../params.ts';
import { renderJob } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { jobSchema } from '../schemas.ts';
import { POLL_INTERVAL_S, waitQuery } from './poll.ts';

/**
 * `GET /v1/jobs/{id}`: the job as it is now. `?wait=n` answers when it has finished, with `If-None-Match` when it has
 * changed, or after n seconds. `ETag` and 304 as in RFC 9110.
 */
const get = defineRoute({
  method: 'get',
  path: '/jobs/{id}',
  access: { scope: 'jobs:read', readToken: 'header' },
  operationId: 'getJob',
  summary: 'Get a job',
  params: idParams,
  query: waitQuery,
  headers: z.object({ 'if-none-match': z.string().optional() }),
  responses: {
    200: jsonResponse('The job', jobSchema, { headers: ['ETag', 'Retry-After'], example: QUEUED_JOB }),
    304: { description: 'The job has not changed', headers: ['ETag', 'Retry-After'] },
  },
  async handle(c, { query: { wait } }) {
    const { context, caller, readUntil } = c.var;
    const id = c.req.param('id');
    const seen = seenTag(c.req.header('if-none-match'));
    // The client has links that will soon expire: that is a change by itself, and there is nothing to wait for.
    const outdated = seen !== null && seen.links !== null && seen.links !== linksNow(context.clock(), readUntil);
    const found =
      wait === 0 || outdated
        ? await getJob(context, caller, id)
        : await waitForJob(
            context,
            caller,
            id,
            seen === null ? { until: 'finished' } : { until: 'changed', after: seen.event },
            wait,
            c.req.raw.signal,
          );
    if (!found.ok) {
      return found;
    }
    const job = found.value;
    const tag: Tag = {
      event: job.last_event,
      links: linksOf(job, context.clock(), readUntil),
      progress: perMille(job),
    };
    c.header('etag', writeTag(tag));
    c.header('cache-control', 'private, no-cache');
    if (!isTerminal(job.status)) {
      c.header('retry-after', String(POLL_INTERVAL_S));
    }
    return seen !== null && writeTag(seen) === writeTag(tag)
      ? c.body(null, 304)
      : c.json(renderJob(job, context.config.publicUrl, await signOutputs(context, job, readUntil)));
  },
});

export const getRoutes: readonly Route[] = [get];

/**
 * What an `ETag` of ours says: the last event that the client has, which links (`linksNow`) where the job has files,
 * and the progress of the graph, which moves between events. Weak: the bytes of two responses with the same tag may
 * differ.
 */
type Tag = { event: number; links: number | null; progress: number | null };

const writeTag = ({ event, links, progress }: Tag): string =>
  `W/"${event}${links === null ? '' : `-${links}`}${progress === null ? '' : `.${progress}`}"`;

const perMille = ({ status, progress }: JobView): number | null =>
  progress === null || isTerminal(status) ? null : Math.round(progress.value * 1000);

/** The tag of an `If-None-Match`; null without one, and for a tag of another server. */
function seenTag(header: string | undefined): Tag | null {
  const [, event, links, progress] = /^(?:W\/)?"(\d{1,15})(?:-(\d{1,15}))?(?:\.(\d{1,4}))?"$/.exec(header ?? '') ?? [];
  const number = (digits: string | undefined): number | null => (digits === undefined ? null : Number(digits));
  return event === undefined ? null : { event: Number(event), links: number(links), progress: number(progress) };
}
