import { z } from '@hono/zod-openapi';
import type { WatchFrame } from '../../../contract/events.ts';
import { MAX_WAIT_S } from '../../../services/jobs/wait.ts';
import { watch } from '../../../services/jobs/watch.ts';
import { coreProblem, problem } from '../../http/problem.ts';
import { renderJob, renderOutput } from '../render.ts';
import { describeRoute, type V1App } from '../v1-app.ts';
import { comeBackLater, placeOf, resumes, sse } from '../../http/sse.ts';

/** Number of an event, as the last one a client has; 0 is before the first. */
const EVENT_NUMBER = /^\d{1,15}$/;

/** When a stream that had no room may be tried again, in seconds: those who left are noticed by keep-alives within 15 s. */
const TRY_STREAM_AGAIN_S = 15;

/** `GET /v1/jobs/{id}/events`: the job's log as SSE, from the event after `Last-Event-ID`, or from a snapshot. */
export function registerWatchJob(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}/events',
    operationId: 'watchJob',
    summary: 'Watch a job',
    request: {
      params: z.object({ id: z.uuid() }),
      headers: z.object({ 'last-event-id': z.string().regex(EVENT_NUMBER).optional() }),
      query: z.object({ after: z.string().regex(EVENT_NUMBER).optional() }),
    },
    responses: {
      200: { description: 'Events until the job is over', content: { 'text/event-stream': { schema: z.string() } } },
      204: { description: 'The job is over and the client has all of it' },
    },
  });
  app.get('/jobs/:id/events', async (c) => {
    const { core, caller } = c.var;
    const id = c.req.param('id');
    const given = placeOf(c);
    if (given !== undefined && !EVENT_NUMBER.test(given)) {
      return problem(c, 'invalid_cursor', { detail: 'Last-Event-ID and after take the number of an event' });
    }
    const watched = await watch(core, caller, id, given === undefined ? null : Number(given));
    const { publicUrl } = core.config;
    if (watched.ok) {
      const render = (frame: WatchFrame): unknown => renderFrame(frame, id, publicUrl);
      return watched.value === null
        ? c.body(null, 204)
        : sse(c, watched.value, { rendered: RENDERED, render, stillAllowed: c.var.stillAllowed });
    }
    if (watched.problem.code !== 'too_many_watchers') {
      return coreProblem(c, watched.problem);
    }
    return resumes(c)
      ? comeBackLater(c, core.newSeed)
      : problem(c, 'too_many_watchers', {
          detail: watched.problem.detail,
          poll: `${publicUrl}/v1/jobs/${id}?wait=${MAX_WAIT_S}`,
          headers: { 'retry-after': String(TRY_STREAM_AGAIN_S) },
        });
  });
}

/** What looks different in v1 than in the object. */
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
