/**
 * Parses a worker's message: `JSON.parse`, with U+FFFD for each half of a surrogate pair. A file name in an error that
 * is not Unicode must not refuse a report, and clients get only JSON that every parser accepts. Throws a `SyntaxError`.
 */
export const parseWorkerJson = (text: string): unknown =>
  JSON.parse(SURROGATE.test(text) ? text.replace(ESCAPE, wholeEscape) : text);

/** Half of a pair can only come as an escape: the bytes are UTF-8, which cannot contain one. */
const SURROGATE = /\\u[dD][89a-fA-F]/;
/** One escape of a JSON string, or the two of a pair. */
const ESCAPE = /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|[^u])/g;
const ESCAPE_CHARS = String.raw`\ud800`.length;
const wholeEscape = (escape: string): string =>
  escape.length === ESCAPE_CHARS && SURROGATE.test(escape) ? String.raw`\ufffd` : escape;
