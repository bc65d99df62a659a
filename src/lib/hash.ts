/** The bytes of a hash as lower-case hex. */
export const hex = (bytes: ArrayBuffer): string => new Uint8Array(bytes).toHex();

/** SHA-256 of bytes, or of a text's UTF-8, as lower-case hex. */
export async function sha256Hex(content: BufferSource | string): Promise<string> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return hex(await crypto.subtle.digest('SHA-256', bytes));
}
