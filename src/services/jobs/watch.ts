import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Opens a socket to the job's events: after event `after` (0: all), or from a snapshot when `after` is null. Frames are
 * `WatchFrame`s. Returns null when the job has finished and the caller has seen all events.
 */
export async function watch(
  context: ServiceContext,
  caller: Caller,
  id: string,
  after: number | null,
): Promise<Result<WebSocket | null, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const url = new URL('https://job/watch');
  url.searchParams.set('account', caller.account);
  if (after !== null) {
    url.searchParams.set('after', String(after));
  }
  const response = await context.env.JOB.getByName(id).fetch(url, { headers: { upgrade: 'websocket' } });
  if (response.status === 204) {
    return ok(null);
  }
  if (response.status === 400) {
    return fail({ code: 'invalid_cursor', detail: 'The job has no event with this number yet.' });
  }
  if (response.status === 429) {
    return fail({
      code: 'too_many_watchers',
      detail: 'This job already has the maximum number of watchers; poll it instead.',
    });
  }
  return response.webSocket === null ? fail(notFound) : ok(response.webSocket);
}
