import { publicUrl } from '../../domain/net/public-url.ts';
import { readRetryAfter } from '../../contract/retry-after.ts';
import { TIMEOUT_MS, type Answer } from '../../domain/webhook/schedule.ts';
import { signatureHeaders, type Secret } from '../../domain/webhook/secret.ts';

/** Names the gateway in a receiver's log. */
const USER_AGENT = 'comfy-edge-webhooks/1';

/**
 * Sends one attempt and returns its answer. Follows no redirect, which could lead into a private network. Reads only
 * the status and `Retry-After`.
 * @param gateway the gateway's own origin
 */
export async function post(
  to: { url: string; secrets: readonly Secret[]; gateway: string },
  message: { id: string; body: string },
  now: number,
): Promise<Answer> {
  // Checked again, because the rule may be stricter now than when the webhook was created.
  if (!publicUrl(to.url, to.gateway).ok) {
    return { kind: 'not_allowed' };
  }
  const headers = {
    'content-type': 'application/json',
    'user-agent': USER_AGENT,
    ...(await signatureHeaders(to.secrets, message, now)),
  };
  try {
    const response = await fetch(to.url, {
      method: 'POST',
      headers,
      body: message.body,
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const retry_after_ms = readRetryAfter(response.headers.get('retry-after'), Date.now());
    void response.body?.cancel().catch(() => {});
    return { kind: 'status', status: response.status, retry_after_ms };
  } catch (error) {
    const late = error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');
    return { kind: late ? 'timeout' : 'unreachable' };
  }
}
