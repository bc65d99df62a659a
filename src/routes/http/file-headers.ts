import { presentationOf } from '../../domain/files/presentation.ts';

/** Headers with which a browser shows an output without trusting it. */

type File = { name: string; content_type: string };
type Version = { etag: string; modified: Date };

/** A browser builds a page around an image or a video; its styles and the file itself must be allowed. */
const SHOWN_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox";
const OFFERED_POLICY = "default-src 'none'; sandbox";

export function contentHeaders(file: File, version: Version): Record<string, string> {
  const { type, inline, disposition } = presentationOf(file);
  return {
    'content-type': type,
    'content-disposition': disposition,
    etag: version.etag,
    'last-modified': version.modified.toUTCString(),
    'accept-ranges': 'bytes',
    // Outputs are private and disappear with their job: a cache must revalidate them.
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
    'content-security-policy': inline ? SHOWN_POLICY : OFFERED_POLICY,
  };
}
