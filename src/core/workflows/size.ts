/** What JSON writes around a text, and behind a name: its quotes, and those and a colon. */
const QUOTES = 2;
const QUOTES_AND_COLON = 3;

/**
 * Whether a value has more than `bytes` bytes as JSON, told without writing it: one text that stands in two thousand places is one
 * in memory and gigabytes when written. True is certain. Where it says false the text itself must be measured, for escapes, commas
 * and letters of more than one byte are not counted here; it is then at most six times as long.
 */
export function isLargerThan(bytes: number, value: unknown): boolean {
  let least = 0;
  const todo = [value];
  while (todo.length > 0 && least <= bytes) {
    const next = todo.pop();
    if (typeof next === 'string') {
      least += next.length + QUOTES;
    } else if (typeof next === 'object' && next !== null) {
      for (const [name, inner] of Object.entries(next)) {
        least += Array.isArray(next) ? 0 : name.length + QUOTES_AND_COLON;
        todo.push(inner);
      }
      least += QUOTES;
    } else {
      // `null`, `true`, and numbers as they are written.
      least += typeof next === 'number' || typeof next === 'bigint' ? String(next).length : 4;
    }
  }
  return least > bytes;
}
