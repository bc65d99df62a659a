import { LINE_AND_ORDER_CONTROLS } from '../../contract/job.ts';
import { mediaTypeOf, UNKNOWN_TYPE } from '../../contract/media-type.ts';

/** Decides how a browser may display an output. Outputs come from clients' graphs and are not trusted. */

/**
 * The types that are displayed inline: types that browsers decode themselves. The list is closed, because browsers
 * treat every `…+xml` type as XML. All other types are downloads, because SVG and HTML may contain scripts.
 */
const SHOWN = new Set([
  ...['png', 'jpeg', 'gif', 'webp', 'avif', 'bmp', 'apng'].map((type) => `image/${type}`),
  ...['mp4', 'webm', 'ogg', 'quicktime', 'x-matroska', 'x-msvideo', 'mpeg'].map((type) => `video/${type}`),
  ...['mpeg', 'wav', 'x-wav', 'ogg', 'flac', 'x-flac', 'mp4', 'aac', 'opus', 'webm'].map((type) => `audio/${type}`),
  'text/plain',
]);

/** Types that a browser may execute. */
const ACTIVE = /html|xml|xsl|svg|script/i;

type File = { name: string; content_type: string };

export type Presentation = {
  /** The Content-Type of the response. */
  type: string;
  inline: boolean;
  /** `Content-Disposition`. */
  disposition: string;
};

export function presentationOf({ name, content_type }: File): Presentation {
  const type = mediaTypeOf(content_type);
  const inline = SHOWN.has(type.split(';', 1)[0]?.trim().toLowerCase() ?? '');
  return { type, inline, disposition: disposition(inline ? 'inline' : 'attachment', name) };
}

/**
 * The Content-Type of an output in storage. Links to storage are served without our headers, so a type that a browser
 * may execute or guess is replaced.
 */
export const storedTypeOf = (content_type: string): string =>
  ACTIVE.test(content_type) ? UNKNOWN_TYPE : mediaTypeOf(content_type);

/**
 * `filename` in ASCII for old clients, and `filename*` in UTF-8 (RFC 6266, RFC 8187), without characters that would
 * make it look like another name and without the folder.
 */
function disposition(kind: 'inline' | 'attachment', name: string): string {
  const base = (name.toWellFormed().split('/').at(-1) ?? '').replaceAll(LINE_AND_ORDER_CONTROLS, '_');
  const ascii = base.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(base).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `${kind}; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
