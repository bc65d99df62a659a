/** Headers that let a browser show a result without trusting it. */

type File = { name: string; content_type: string };
type Version = { etag: string; modified: Date };

const MEDIA_TYPE =
  /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(?:\s*;\s*[a-z0-9!#$&^_.+-]+=(?:"[^"\r\n]*"|[a-z0-9!#$&^_.+-]+))*$/i;

/** Shown in place. Everything else (SVG and HTML can hold scripts) is offered as a download and sandboxed besides. */
const INLINE =
  /^(?:image\/(?:png|jpeg|gif|webp|avif|bmp|apng)|video\/[a-z0-9.+-]+|audio\/[a-z0-9.+-]+|text\/plain)(?:;|$)/i;

export function contentHeaders(file: File, version: Version): Record<string, string> {
  const type = MEDIA_TYPE.test(file.content_type) ? file.content_type : 'application/octet-stream';
  const inline = INLINE.test(type);
  return {
    'content-type': type,
    'content-disposition': disposition(inline ? 'inline' : 'attachment', file.name),
    etag: version.etag,
    'last-modified': version.modified.toUTCString(),
    'accept-ranges': 'bytes',
    // Results are private and vanish with their job: keep them, but ask.
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
    ...(inline ? {} : { 'content-security-policy': "default-src 'none'; sandbox" }),
  };
}

/** `filename` in ASCII for old clients, `filename*` as it is (RFC 6266, RFC 8187). The folder part of a name is left out. */
function disposition(kind: 'inline' | 'attachment', name: string): string {
  const base = name.toWellFormed().split('/').at(-1) ?? '';
  const ascii = base.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(base).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `${kind}; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
