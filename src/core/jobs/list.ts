import type { Status } from '../../contract/job.ts';
import { isUuidV7 } from '../../providers/ids.ts';
import { listJobs as readJobs, type JobSummary } from '../../storage/d1/jobs.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../problems.ts';
import { fail, ok, type Result } from '../result.ts';

export type JobPage = { jobs: JobSummary[]; next_cursor: string | null };

/** A page of the caller's jobs, newest first. Jobs made while a client pages do not move the pages. */
export async function listJobs(
  core: Core,
  caller: Caller,
  page: { limit: number; cursor: string | null; status: Status | null },
): Promise<Result<JobPage, CoreProblem>> {
  const before = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && before === null) {
    return fail({ code: 'invalid_cursor', detail: 'the cursor is none that a list has answered with' });
  }
  // One more than asked for says whether there is more.
  const found = await readJobs(core.env.DB, caller.account, { limit: page.limit + 1, before, status: page.status });
  const jobs = found.slice(0, page.limit);
  const last = jobs.at(-1);
  return ok({ jobs, next_cursor: found.length > page.limit && last !== undefined ? writeCursor(last.id) : null });
}

/** Opaque to clients: base64url of a version letter and the id of the last job of a page. */
const VERSION = 'a';

const writeCursor = (id: string): string =>
  new TextEncoder().encode(VERSION + id).toBase64({ alphabet: 'base64url', omitPadding: true });

function readCursor(cursor: string): string | null {
  let text: string;
  try {
    text = new TextDecoder().decode(Uint8Array.fromBase64(cursor, { alphabet: 'base64url' }));
  } catch {
    return null;
  }
  const id = text.slice(VERSION.length);
  return text.startsWith(VERSION) && isUuidV7(id) ? id : null;
}
