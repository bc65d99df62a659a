/**
 * Cleans messages of worker-comfyui for clients. It removes traces, paths, hosts and anything that looks like a secret.
 * File names are kept, because most of them come from the client.
 */

const MAX_CHARS = 1_000;
/** Only this much of a text is cleaned, because the result is cut at `MAX_CHARS`. */
const MAX_READ_CHARS = 4 * MAX_CHARS;

/** Matches a Python trace, as the SDK and ComfyUI append it. */
const TRACE = /(?:Traceback \(most recent call last\)|\btraceback:|\n\s*File ").*$/is;
const URL_TEXT = /\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s'"<>)\]]+/gi;
const SECRET = /\b(?:(?:rpa|hf|ghp)_|sk-|AKIA)[A-Za-z0-9_-]{16,}|\bcomfyui-[0-9a-f]{32,}/g;
const HOST_ARGUMENT = /\bhost\s*=\s*(['"])[^'"]*\1/gi;
const ADDRESS = /\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?|\[[0-9a-f:]{3,}\](?::\d+)?/gi;
const HOST =
  /\blocalhost\b(?::\d+)?|\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|net|org|io|ai|dev|app|cloud|internal|local|lan)\b(?::\d+)?|\b(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}:\d{2,5}\b/gi;
const WINDOWS_PATH = /\b[a-z]:\\[^\s'"<>|]*/gi;
const UNIX_PATH = /(?<![\w.\]])~?(?:\/[^\s/'"<>|:,;()]+)+\/?/g;

/** Returns the text that a client may see; empty if nothing is left. */
export function cleanMessage(text: string): string {
  return (
    text
      .slice(0, MAX_READ_CHARS)
      .replace(TRACE, '')
      .replaceAll(URL_TEXT, '[url]')
      .replaceAll(SECRET, '[secret]')
      .replaceAll(HOST_ARGUMENT, "host='[host]'")
      .replaceAll(ADDRESS, '[host]')
      .replaceAll(WINDOWS_PATH, (path) => fileNameIn(path, '\\'))
      .replaceAll(UNIX_PATH, (path) => fileNameIn(path, '/'))
      .replaceAll(HOST, '[host]')
      // oxlint-disable-next-line no-control-regex -- control characters are replaced here
      .replaceAll(/[\s\u0000-\u001f\u007f]+/g, ' ')
      .trim()
      .slice(0, MAX_CHARS)
      .toWellFormed()
  );
}

/** Returns the file name at the end of a path, or a placeholder for a folder. */
function fileNameIn(path: string, separator: string): string {
  const last = path.split(separator).at(-1) ?? '';
  return /^[^.].*\.[A-Za-z0-9]{1,12}\.?$/.test(last) ? last : '[path]';
}
