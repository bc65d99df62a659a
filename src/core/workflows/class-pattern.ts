/**
 * Names of node classes in a policy: `*` stands for any characters, `?` for one, and everything else for itself (brackets too:
 * there are classes called `Terminal [unsafe]`). Names are exact, as ComfyUI's own look-up is. The worker reads NODE_ALLOW and
 * NODE_DENY in the same way; test/fixtures/class-patterns.json holds both to it.
 */

/** Whether a pattern is a name as it stands. */
export const isPlain = (pattern: string): boolean => !/[*?]/.test(pattern);

/** Whether `name` is one of the names that `pattern` stands for. Takes at most the product of their lengths. */
export function matchesClass(pattern: string, name: string): boolean {
  return covered([...pattern], [...name], () => true);
}

/**
 * Whether every name that `inner` stands for is one that `outer` stands for. Says no in doubt: of two patterns that only together
 * come to the same it knows nothing.
 */
export function coversPattern(outer: string, inner: string): boolean {
  // What may be several characters, or none, is no one character.
  return covered([...outer], [...inner], (char) => char !== '*');
}

/** The usual match with one step back: to the last `*`, which takes one character more. */
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
