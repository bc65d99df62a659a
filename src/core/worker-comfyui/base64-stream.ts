/** Base64 decoded as its text arrives (RFC 4648 section 4, with padding; white space is let through). */
export class Base64Stream {
  /** What does not fill four characters yet. */
  private rest = '';
  private padded = false;

  /** The bytes that are known now; null: the text is no base64. */
  push(text: string): Uint8Array | null {
    const dense = text.replaceAll(/\s/g, '');
    if (dense === '') {
      return new Uint8Array();
    }
    if (this.padded) {
      return null;
    }
    const all = this.rest + dense;
    const whole = all.length - (all.length % 4);
    this.rest = all.slice(whole);
    const groups = all.slice(0, whole);
    this.padded = groups.endsWith('=');
    if (this.padded && this.rest !== '') {
      return null;
    }
    try {
      return Uint8Array.fromBase64(groups, { lastChunkHandling: 'strict' });
    } catch {
      return null;
    }
  }

  /** Whether the text may end here. */
  get complete(): boolean {
    return this.rest === '';
  }
}
