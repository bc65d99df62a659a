import { isUuidV7 } from './ids.ts';

/** A place in a list, opaque to clients: base64url of a version letter and the id of the last item of a page. */
const VERSION = 'a';

export const writeCursor = (id: string): string =>
  new TextEncoder().encode(VERSION + id).toBase64({ alphabet: 'base64url', omitPadding: true });

/** The id in a cursor; null for a text that is not a cursor. */
export function readCursor(cursor: string): string | null {
  let text: string;
  try {
    text = new TextDecoder().decode(Uint8Array.fromBase64(cursor, { alphabet: 'base64url' }));
  } catch {
    return null;
  }
  const id = text.slice(VERSION.length);
  return text.startsWith(VERSION) && isUuidV7(id) ? id : null;
}
