import { z } from '@hono/zod-openapi';
import type { WatchFrame } from '../../../contract/events.ts';
import { watch } from '../../../core/jobs/watch.ts';
import { coreProblem, problem } from '../../problem.ts';
import { sse } from '../../sse.ts';
import { renderJob, renderOutput } from '../render.ts';
import { describeRoute, problemAnswer, type V1App } from '../v1-app.ts';

/** `GET /v1/jobs/{id}/events`: the job's events as they come, from a snapshot or after the last one seen (docs/api.md, Events). */
export function registerJobEvents(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}/events',
    operationId: 'watchJob',
    summary: 'Watch a job',
    request: {
      params: z.object({ id: z.uuid() }),
      query: z.object({ after: z.string().optional() }),
      headers: z.object({ 'last-event-id': z.string().optional() }),
    },
    responses: {
      200: { description: 'Server-sent events', content: { 'text/event-stream': { schema: z.string() } } },
      204: { description: 'The job is over and its last event was seen' },
      ...problemAnswer,
    },
  });
  app.get('/jobs/:id/events', async (c) => {
    const { core, caller } = c.var;
    const id = c.req.param('id');
    const after = cursor(c.req.header('last-event-id') ?? c.req.query('after'));
    if (after === 'invalid') {
      return problem(c, 'invalid_cursor', { detail: 'Last-Event-ID and after take the number of an event' });
    }
    const watched = await watch(core, caller, id, after);
    if (!watched.ok) {
      return coreProblem(c, watched.problem);
    }
    return watched.value === null ? c.body(null, 204) : sse(c, watched.value, (frame) => render(frame, id, core.config.publicUrl));
  });
}

/** Numbers of events, as text. Fifteen digits stay exact. */
function cursor(text: string | undefined): number | null | 'invalid' {
  if (text === undefined || text === '') {
    return null;
  }
  return /^\d{1,15}$/.test(text) ? Number(text) : 'invalid';
}

function render(frame: WatchFrame, job: string, publicUrl: string): unknown {
  switch (frame.event) {
    case 'snapshot':
      return renderJob(frame.data, publicUrl);
    case 'output':
      return renderOutput(frame.data, job, publicUrl);
    default:
      return frame.data;
  }
}
