import { presentationOf } from '../../core/files/presentation.ts';

/** Headers that let a browser show a result without trusting it. */

type File = { name: string; content_type: string };
type Version = { etag: string; modified: Date };

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
    ...(inline ? {} : { 'content-security-policy': "default-src 'none'; sandbox" }),
  };
}
