import { LINE_AND_ORDER_CONTROLS } from '../../contract/job.ts';
import { mediaTypeOf, UNKNOWN_TYPE } from '../../contract/media-type.ts';

/** How a result may be shown to a browser: results are made by anybody's graphs and are not to be trusted. Pure. */

/**
 * Shown in place: what browsers show by decoders of their own. A closed list, since a browser takes any `…+xml` for XML, whatever stands
 * before it. Everything else (SVG and HTML can hold scripts) is offered as a download.
 */
const SHOWN = new Set([
  ...['png', 'jpeg', 'gif', 'webp', 'avif', 'bmp', 'apng'].map((type) => `image/${type}`),
  ...['mp4', 'webm', 'ogg', 'quicktime', 'x-matroska', 'x-msvideo', 'mpeg'].map((type) => `video/${type}`),
  ...['mpeg', 'wav', 'x-wav', 'ogg', 'flac', 'x-flac', 'mp4', 'aac', 'opus', 'webm'].map((type) => `audio/${type}`),
  'text/plain',
]);

/** What a browser would run, or take for something to run. */
const ACTIVE = /html|xml|xsl|svg|script/i;

type File = { name: string; content_type: string };

export type Presentation = {
  /** The file's type, if it is one at all. */
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
 * The type a result has in storage, whose links are answered without our headers: a type that a browser might run, or guess at, is
 * not stored.
 */
export const storedTypeOf = (content_type: string): string =>
  ACTIVE.test(content_type) ? UNKNOWN_TYPE : mediaTypeOf(content_type);

/**
 * `filename` in ASCII for old clients, `filename*` as it is (RFC 6266, RFC 8187), less what would make it read as another name. The
 * folder part of a name is left out.
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
