/** Fetches URLs from outside: a client's input, or a result of worker-comfyui. */

/** Fewer than browsers and curl follow. Each hop is checked like the first (reference/runpod.md 4.3, `safe_get`). */
const MAX_REDIRECTS = 5;

/** Checks whether a URL may be called. Returns the parsed URL, or the reason against it. */
export type UrlCheck = (text: string) => { ok: true; value: URL } | { ok: false; problem: string };

export type PublicResponse =
  | { kind: 'answer'; response: Response }
  /** The URL itself (`hop` 0) or the target of a redirect may not be called. */
  | { kind: 'refused'; problem: string; hop: number }
  | { kind: 'too_many_redirects'; limit: number }
  | { kind: 'no_answer' };

/**
 * Calls a URL without headers or credentials of the gateway, and follows redirects after checking each. The caller must
 * read or cancel the body of the response.
 */
export async function fetchPublic(text: string, check: UrlCheck, signal: AbortSignal): Promise<PublicResponse> {
  let next = text;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const allowed = check(next);
    if (!allowed.ok) {
      return { kind: 'refused', problem: allowed.problem, hop };
    }
    let response: Response;
    try {
      response = await fetch(allowed.value, { redirect: 'manual', signal });
    } catch {
      return { kind: 'no_answer' };
    }
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || location === null) {
      return { kind: 'answer', response };
    }
    await response.body?.cancel();
    next = URL.canParse(location, allowed.value) ? new URL(location, allowed.value).href : location;
  }
  return { kind: 'too_many_redirects', limit: MAX_REDIRECTS };
}
