import { presentationOf } from '../../domain/files/presentation.ts';

/** Headers that let a browser show a result without trusting it. */

type File = { name: string; content_type: string };
type Version = { etag: string; modified: Date };

/** A browser makes a page of its own around a picture or a video, whose styles and whose file it must be let load. */
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
    // Results are private and vanish with their job: keep them, but ask.
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
    'content-security-policy': inline ? SHOWN_POLICY : OFFERED_POLICY,
  };
}
