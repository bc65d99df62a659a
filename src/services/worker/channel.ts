import { z } from 'zod';
import { runIdSchema } from '../../contract/run.ts';
import { readJsonStream } from '../../providers/json-stream.ts';
import type { ServiceContext } from '../context.ts';

/**
 * Opens the worker's channel to the Job object. Responds with 101 and the socket, or with 404, 409 or 410 when the
 * claim is not valid. The caller has checked the token.
 */
export function openChannel(context: ServiceContext, job: string, attempt: number, claim: string): Promise<Response> {
  const url = new URL('https://job/channel');
  url.searchParams.set('attempt', String(attempt));
  url.searchParams.set('claim', claim);
  return context.env.JOB.getByName(job).fetch(url, { headers: { upgrade: 'websocket' } });
}

/**
 * Handles RunPod's webhook for an attempt: the Job object polls RunPod itself. The body is not trusted and not read,
 * except when `/run` never answered: then only the body names the run to poll.
 */
export async function onProviderWebhook(
  context: ServiceContext,
  job: string,
  attempt: number,
  body: ReadableStream<Uint8Array> | null,
): Promise<void> {
  const nameless = await context.env.JOB.getByName(job).onProviderWebhook(attempt);
  if (!nameless || body === null) {
    await body?.cancel();
    return;
  }
  const runId = await runIn(body);
  if (runId !== null) {
    await context.env.JOB.getByName(job).setProviderRunId(attempt, runId);
  }
}

const about = z.object({ id: runIdSchema });

/** Reads the run's id from a webhook. The body repeats the input and output, which may be megabytes and are skipped. */
async function runIn(body: ReadableStream<Uint8Array>): Promise<string | null> {
  try {
    const parsed = about.safeParse(await readJsonStream(body, () => null));
    return parsed.success ? parsed.data.id : null;
  } catch {
    return null;
  }
}
