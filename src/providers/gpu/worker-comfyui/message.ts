/**
 * Cleans messages of worker-comfyui for clients. It removes traces, paths, hosts and anything that looks like a secret.
 * File names are kept, because most of them come from the client. worker-gpu cleans its own messages by the same rule
 * (`worker-gpu/src/worker_gpu/redaction.py`); the tests of both use `test/fixtures/public-messages.json`.
 */

const MAX_CHARS = 1_000;
/** Only this much of a text is cleaned, because the result is cut at `MAX_CHARS`. */
const MAX_READ_CHARS = 4 * MAX_CHARS;

/** Matches a Python trace, as the SDK and ComfyUI append it. */
const TRACE = /(?:Traceback \(most recent call last\)|\btraceback:|\n\s*File ").*$/is;
const URL_TEXT = /\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s'"<>)\]]+/gi;
/** Matches tokens of Hugging Face, RunPod, Replicate, GitHub, OpenAI, comfy.org and AWS, and JSON Web Tokens. */
const SECRET =
  /\bBearer\s+[\w.~+/=-]{8,}|\b(?:hf_|rpa_|r8_|ghp_|github_pat_|sk-)[\w-]{16,}|\bcomfyui-[0-9a-f]{20,}|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/gi;
const ADDRESS =
  /\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?|\[(?=(?:[0-9a-f]*:){2})[0-9a-f:]{3,}\](?::\d+)?|\blocalhost\b(?::\d+)?/gi;
/** Matches a host name in quotes, as aiohttp, requests and urllib3 write it. */
const QUOTED_HOST = /(?<=\bhost ?= ?|\bFailed to resolve |\bhostname )(['"])[^'"\s]+\1/gi;
const LABELS = String.raw`(?<![\w./-])(?:[a-z0-9-]{1,63}\.){0,8}[a-z0-9-]{1,63}`;
/**
 * Matches a host name by the word before it or by its end. Attributes and modules can have such names too
 * (`torchvision.io`, `threading.local`), so the common ends count only with a port.
 */
const HOST = new RegExp(
  [
    String.raw`(?<=\bhost )${LABELS}:\d{1,5}\b`,
    String.raw`${LABELS}\.(?:net|io|ai|co|dev|app|cloud|eu|run):\d{2,5}\b`,
    String.raw`${LABELS}\.(?:com|org|runpod\.(?:ai|io|net))\b(?::\d+)?(?!\.?\w)`,
    String.raw`(?!threading\.)${LABELS}\.(?:internal|intranet|lan|corp|localdomain|local)\b(?::\d+)?(?!\.?\w)`,
  ].join('|'),
  'gi',
);
const QUOTED_PATH = /(['"])((?:~?\/|[a-z]:[\\/]|\\\\)[^'"\n]*)\1/gi;
const WINDOWS_PATH = /\b[a-z]:[\\/][^\s'"<>|]*/gi;
const UNIX_PATH = /(?<![\w.\]])~?(?:\/[^\s/'"<>|:,;()]+)+\/?/g;

/** Returns the text that a client may see; empty if nothing is left. */
export function cleanMessage(text: string): string {
  return (
    text
      .slice(0, MAX_READ_CHARS)
      .replace(TRACE, '')
      .replaceAll(URL_TEXT, '[url]')
      .replaceAll(SECRET, '[secret]')
      .replaceAll(QUOTED_HOST, '$1[host]$1')
      .replaceAll(ADDRESS, '[host]')
      .replaceAll(QUOTED_PATH, (_all, quote: string, path: string) => `${quote}${fileNameIn(path)}${quote}`)
      .replaceAll(WINDOWS_PATH, fileNameIn)
      .replaceAll(UNIX_PATH, fileNameIn)
      .replaceAll(HOST, '[host]')
      // oxlint-disable-next-line no-control-regex -- control characters are replaced here
      .replaceAll(/[\s\u0000-\u001f\u007f]+/g, ' ')
      .trim()
      .slice(0, MAX_CHARS)
      .toWellFormed()
  );
}

/** Returns the file name at the end of a path, or a placeholder for a folder. */
function fileNameIn(path: string): string {
  const last = path.split(/[\\/]/).at(-1) ?? '';
  return /^[^.].*\.[A-Za-z0-9]{1,12}\.?$/.test(last) ? last : '[path]';
}
