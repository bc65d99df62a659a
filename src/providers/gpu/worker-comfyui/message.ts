/**
 * Texts of a worker that is not ours, for clients: its traces, its machine's paths and hosts, and what looks like a secret are
 * nobody's business. Names of files stay, for they are mostly those that the client used.
 */

const MAX_CHARS = 1_000;
/** How much of a text is looked at: what follows would be cut away anyhow. */
const MAX_READ_CHARS = 4 * MAX_CHARS;

/** Beginnings of a Python trace, as the SDK and ComfyUI append it. */
const TRACE = /(?:Traceback \(most recent call last\)|\btraceback:|\n\s*File ").*$/is;
const URL_TEXT = /\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s'"<>)\]]+/gi;
const SECRET = /\b(?:(?:rpa|hf|ghp)_|sk-|AKIA)[A-Za-z0-9_-]{16,}|\bcomfyui-[0-9a-f]{32,}/g;
const HOST_ARGUMENT = /\bhost\s*=\s*(['"])[^'"]*\1/gi;
const ADDRESS = /\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?|\[[0-9a-f:]{3,}\](?::\d+)?/gi;
const HOST =
  /\blocalhost\b(?::\d+)?|\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|net|org|io|ai|dev|app|cloud|internal|local|lan)\b(?::\d+)?|\b(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}:\d{2,5}\b/gi;
const WINDOWS_PATH = /\b[a-z]:\\[^\s'"<>|]*/gi;
const UNIX_PATH = /(?<![\w.\]])~?(?:\/[^\s/'"<>|:,;()]+)+\/?/g;

/** The text as a client may see it; empty when nothing is left. */
export function cleanMessage(text: string): string {
  return (
    text
      .slice(0, MAX_READ_CHARS)
      .replace(TRACE, '')
      .replaceAll(URL_TEXT, '[url]')
      .replaceAll(SECRET, '[secret]')
      .replaceAll(HOST_ARGUMENT, "host='[host]'")
      .replaceAll(ADDRESS, '[host]')
      .replaceAll(WINDOWS_PATH, (path) => fileIn(path, '\\'))
      .replaceAll(UNIX_PATH, (path) => fileIn(path, '/'))
      .replaceAll(HOST, '[host]')
      // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
      .replaceAll(/[\s\u0000-\u001f\u007f]+/g, ' ')
      .trim()
      .slice(0, MAX_CHARS)
      .toWellFormed()
  );
}

/** The name of a file at the end of a path; a folder has none. */
function fileIn(path: string, separator: string): string {
  const last = path.split(separator).at(-1) ?? '';
  return /^[^.].*\.[A-Za-z0-9]{1,12}\.?$/.test(last) ? last : '[path]';
}
