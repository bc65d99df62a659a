/** GETs of URLs that came from outside: a client's input, a foreign worker's result. */

/** As browsers and curl do at the least; each hop is checked like the first (reference/runpod.md 4.3, `safe_get`). */
const MAX_REDIRECTS = 5;

/** Whether a URL may be called: itself, parsed, or why not. */
export type UrlCheck = (text: string) => { ok: true; value: URL } | { ok: false; problem: string };

export type PublicAnswer =
  | { kind: 'answer'; response: Response }
  /** The URL itself (`hop` 0) or one it redirects to may not be called. */
  | { kind: 'refused'; problem: string; hop: number }
  | { kind: 'too_many_redirects'; most: number }
  | { kind: 'no_answer' };

/** Calls a URL without our headers or credentials and follows its redirects, each checked first. The answer's body is the caller's to read or cancel. */
export async function fetchPublic(text: string, check: UrlCheck, signal: AbortSignal): Promise<PublicAnswer> {
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
  return { kind: 'too_many_redirects', most: MAX_REDIRECTS };
}
