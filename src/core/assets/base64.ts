const DATA_URL = /^data:[^,]{0,200};base64,/;

/**
 * Bytes of base64 text, bare or as a data URL; null when it is not exactly that. The standard alphabet with padding is
 * required (RFC 4648 section 4); line breaks are let through. A data URL's media type is ignored: the bytes say what they are.
 */
export function decodeBase64(text: string): Uint8Array | null {
  const prefix = text.startsWith('data:') ? DATA_URL.exec(text)?.[0] : '';
  if (prefix === undefined) {
    return null;
  }
  try {
    return Uint8Array.fromBase64(prefix === '' ? text : text.slice(prefix.length), { lastChunkHandling: 'strict' });
  } catch {
    return null;
  }
}
