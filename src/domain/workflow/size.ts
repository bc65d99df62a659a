/** Characters that JSON adds to a text (two quotes), and to the name of a property (two quotes and a colon). */
const QUOTES = 2;
const QUOTES_AND_COLON = 3;

/**
 * Whether a value is certainly larger than `bytes` bytes as JSON, found without writing it. A text that occurs in 2,000
 * places is stored once in memory but takes gigabytes when written. After false, measure the text itself: escapes,
 * commas and multi-byte characters are not counted here, so the text may be up to six times as long.
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
