/**
 * Patterns for node classes in a policy: `*` matches any characters, `?` matches one, and everything else matches
 * itself. Brackets are literal, because classes have names like `Terminal [unsafe]`. Case matters, as in ComfyUI. The
 * worker reads NODE_ALLOW and NODE_DENY by the same rules; test/fixtures/class-patterns.json tests both.
 */

/** Whether a pattern has no wildcard. */
export const isPlain = (pattern: string): boolean => !/[*?]/.test(pattern);

/** Whether `pattern` matches `name`. The time is at most proportional to the product of their lengths. */
export function matchesClass(pattern: string, name: string): boolean {
  return covered([...pattern], [...name], () => true);
}

/**
 * Whether `outer` matches every name that `inner` matches. The answer is conservative: it may be false where `outer`
 * does match all of them by a combination of wildcards.
 */
export function coversPattern(outer: string, inner: string): boolean {
  // `?` in `outer` must not match `*` in `inner`, which may be several characters or none.
  return covered([...outer], [...inner], (char) => char !== '*');
}

/** Wildcard matching with one backtracking point: on a mismatch the last `*` matches one more character. */
function covered(pattern: readonly string[], text: readonly string[], isOne: (char: string) => boolean): boolean {
  let at = 0;
  let star = -1;
  let taken = 0;
  for (let read = 0; read < text.length;) {
    const char = text[read] ?? '';
    if (pattern[at] === '*') {
      star = at;
      at += 1;
      taken = read;
    } else if (pattern[at] === '?' ? isOne(char) : pattern[at] === char) {
      at += 1;
      read += 1;
    } else if (star >= 0) {
      taken += 1;
      at = star + 1;
      read = taken;
    } else {
      return false;
    }
  }
  return pattern.slice(at).every((char) => char === '*');
}
