import { z } from 'zod';
import { runIdSchema } from '../../contract/run.ts';
import { jobStub } from '../../durable-objects/shared/stubs.ts';
import { readJsonStream } from '../../providers/json-stream.ts';
import type { Core } from '../context.ts';

/**
 * Opens the worker's channel to the Job object. Answers 101 with the socket; 404, 409 or 410 where the claim does not stand.
 * The caller has checked the token.
 */
export function openChannel(core: Core, job: string, attempt: number, claim: string): Promise<Response> {
  const url = new URL('https://job/channel');
  url.searchParams.set('attempt', String(attempt));
  url.searchParams.set('claim', claim);
  return jobStub(core.env, job).fetch(url, { headers: { upgrade: 'websocket' } });
}

/**
 * RunPod says something about an attempt: have the object ask RunPod itself. Its body proves nothing and is not read, but where
 * `/run` never answered it alone can name the run to ask about.
 */
export async function hint(
  core: Core,
  job: string,
  attempt: number,
  body: ReadableStream<Uint8Array> | null,
): Promise<void> {
  const nameless = await jobStub(core.env, job).hint(attempt);
  if (!nameless || body === null) {
    await body?.cancel();
    return;
  }
  const runId = await runIn(body);
  if (runId !== null) {
    await jobStub(core.env, job).named(attempt, runId);
  }
}

const about = z.object({ id: runIdSchema });

/** The run that a webhook is about. It echoes the input and the output, megabytes of both, which pass by unread. */
async function runIn(body: ReadableStream<Uint8Array>): Promise<string | null> {
  try {
    const parsed = about.safeParse(await readJsonStream(body, () => null));
    return parsed.success ? parsed.data.id : null;
  } catch {
    return null;
  }
}
