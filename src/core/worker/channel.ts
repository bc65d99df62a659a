import { jobStub } from '../../objects/stubs.ts';
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

/** RunPod says something about an attempt: have the object ask RunPod itself. */
export async function hint(core: Core, job: string, attempt: number): Promise<void> {
  await jobStub(core.env, job).hint(attempt);
}
