import { z } from '@hono/zod-openapi';
import type { WatchFrame } from '../../../contract/events.ts';
import { ok } from '../../../domain/result.ts';
import { MAX_WAIT_S } from '../../../services/jobs/wait.ts';
import { watch } from '../../../services/jobs/watch.ts';
import { problem } from '../../http/problem.ts';
import { retryLater, positionOf, resumes, sse } from '../../http/sse.ts';
import { idParams } from '../params.ts';
import { renderJob, renderOutput } from '../render.ts';
import { defineRoute, type Route } from '../route.ts';

/** The number of a client's last event; 0 is before the first. */
const EVENT_NUMBER = /^\d{1,15}$/;

/** `Retry-After` of a stream that was refused, in seconds: keep-alives notice within 15 s that a watcher has left. */
const RETRY_STREAM_S = 15;

/** `GET /v1/jobs/{id}/events`: the job's log as SSE, from the event after `Last-Event-ID`, or from a snapshot. */
const watchEvents = defineRoute({
  method: 'get',
  path: '/jobs/{id}/events',
  access: { scope: 'jobs:read', readToken: 'query' },
  operationId: 'watchJob',
  summary: 'Watch a job',
  params: idParams,
  query: { schema: z.object({ after: z.string().regex(EVENT_NUMBER).optional() }), read: () => ok(undefined) },
  headers: z.object({ 'last-event-id': z.string().regex(EVENT_NUMBER).optional() }),
  responses: {
    200: { description: 'Events until the job has finished', content: { 'text/event-stream': { schema: z.string() } } },
    204: { description: 'The job has finished, and the client has all its events' },
  },
  async handle(c) {
    const { context, caller } = c.var;
    const id = c.req.param('id');
    const given = positionOf(c);
    if (given !== undefined && !EVENT_NUMBER.test(given)) {
      return problem(c, 'invalid_cursor', { detail: '"Last-Event-ID" and "after" must be the number of an event.' });
    }
    const watched = await watch(context, caller, id, given === undefined ? null : Number(given));
    const { publicUrl } = context.config;
    if (watched.ok) {
      const render = (frame: WatchFrame): unknown => renderFrame(frame, id, publicUrl);
      return watched.value === null
        ? c.body(null, 204)
        : sse(c, watched.value, { rendered: RENDERED, render, isStillAuthorized: c.var.isStillAuthorized });
    }
    if (watched.problem.code !== 'too_many_watchers') {
      return watched;
    }
    return resumes(c)
      ? retryLater(c, context.newSeed)
      : problem(c, 'too_many_watchers', {
          detail: watched.problem.detail,
          poll: `${publicUrl}/v1/jobs/${id}?wait=${MAX_WAIT_S}`,
          headers: { 'retry-after': String(RETRY_STREAM_S) },
        });
  },
});

export const watchRoutes: readonly Route[] = [watchEvents];

/** Events that v1 renders; the others are sent as the object wrote them. */
const RENDERED: ReadonlySet<WatchFrame['event']> = new Set(['snapshot', 'output']);

function renderFrame(frame: WatchFrame, job: string, publicUrl: string): unknown {
  switch (frame.event) {
    case 'snapshot':
      return renderJob(frame.data, publicUrl);
    case 'output':
      return renderOutput(frame.data, job, publicUrl);
    default:
      return frame.data;
  }
}
