import { testBindings } from '../../test/gateway-bindings.ts';
import { signToken, type TokenBinding } from '../providers/tokens.ts';
import { anyone } from './gateway.ts';

/** Calls the worker routes as a worker does, for tests of their answers. */

const HOUR_MS = 3_600_000;

export const tokenFor = (
  job: string,
  attempt = 1,
  over: Partial<TokenBinding> = {},
  expires_at = Date.now() + HOUR_MS,
): Promise<string> => signToken(testBindings.TOKEN_SECRET, { purpose: 'worker', job, attempt, ...over }, expires_at);

/** Makes one call. By default it sends the right token of the attempt; null sends none. */
export async function workerCall(
  job: string,
  path: string,
  body: unknown,
  { token, method = 'POST', attempt = 1 }: { token?: string | null; method?: string; attempt?: number } = {},
): Promise<Response> {
  const sent = token === undefined ? await tokenFor(job, attempt) : token;
  return anyone(`/worker/jobs/${job}/${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...(sent === null ? {} : { authorization: `Bearer ${sent}` }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

/** Returns the status and the body of a response. */
export async function answerOf(response: Response): Promise<{ status: number; body: unknown }> {
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}
