/**
 * Parses what a worker says: `JSON.parse`, with U+FFFD for each half of a surrogate pair. A report is not refused for a file name
 * in an error that is no Unicode, and no client gets what its own parser may not take. Throws a `SyntaxError`.
 */
export const parseWorkerJson = (text: string): unknown =>
  JSON.parse(SURROGATE.test(text) ? text.replace(ESCAPE, wholeEscape) : text);

/** Halves can only come as escapes: what comes as bytes is UTF-8, which holds none. */
const SURROGATE = /\\u[dD][89a-fA-F]/;
/** One escape of a JSON string, or the two of a pair. */
const ESCAPE = /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|[^u])/g;
const ESCAPE_CHARS = String.raw`\ud800`.length;
const wholeEscape = (escape: string): string =>
  escape.length === ESCAPE_CHARS && SURROGATE.test(escape) ? String.raw`\ufffd` : escape;
