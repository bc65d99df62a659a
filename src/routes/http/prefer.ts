import { MAX_WAIT_S } from '../../services/jobs/wait.ts';

/** One preference without its parameters (RFC 7240 section 2): a token, and a token or a quoted string as its value. */
const PREFERENCE = /^([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:=[ \t]*(?:([!#$%&'*+.^_`|~0-9a-z-]+)|"((?:[^"\\]|\\.)*)"))?$/i;
const SECONDS = /^\d+$/;

/**
 * The wait that a client prefers (`Prefer: wait=n`, RFC 7240 section 4.3), in whole seconds and at most `MAX_WAIT_S`.
 * Null without that preference, and for a malformed one, which a server ignores (section 2). The first preference of a
 * name counts.
 */
export function preferredWait(header: string | undefined): number | null {
  for (const item of splitOutsideQuotes(header ?? '', ',')) {
    const [preference = ''] = splitOutsideQuotes(item, ';');
    const [, name = '', token, quoted] = PREFERENCE.exec(preference.trim()) ?? [];
    if (name.toLowerCase() === 'wait') {
      const seconds = token ?? quoted?.replaceAll(/\\(.)/g, '$1') ?? '';
      return SECONDS.test(seconds) ? Math.min(Number(seconds), MAX_WAIT_S) : null;
    }
  }
  return null;
}

/**
 * The parts of a list. An open quote extends to the end of the text, so that its content is not read as a preference.
 */
function splitOutsideQuotes(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = [];
  let from = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    if (quoted && text[at] === '\\') {
      at += 1;
    } else if (text[at] === '"') {
      quoted = !quoted;
    } else if (!quoted && text[at] === separator) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return [...parts, text.slice(from)];
}
