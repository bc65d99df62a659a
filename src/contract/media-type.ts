import { z } from 'zod';

/** Media types as they may stand in a header: a worker's or a store's word for one is text from outside. */

/** The type of content that nothing is known of. */
export const UNKNOWN_TYPE = 'application/octet-stream';

/**
 * Longest media type that is kept. The longest registered one has 99 characters, parameters aside (IANA, media types).
 */
const MAX_MEDIA_TYPE_CHARS = 255;

/**
 * RFC 9110 section 8.3.1, narrowed: a quoted value is printable ASCII without `"` and `\`. The RFC's obsolete forms
 * (control characters and bytes above 127) make runtimes refuse the header or write it as something else.
 */
const MEDIA_TYPE =
  /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(?:[ \t]*;[ \t]*[a-z0-9!#$&^_.+-]+=(?:"[ !#-[\]-~]*"|[a-z0-9!#$&^_.+-]+))*$/i;

/** The text if it is a media type that may stand in a header, else `UNKNOWN_TYPE`. */
export const mediaTypeOf = (text: string): string =>
  text.length <= MAX_MEDIA_TYPE_CHARS && MEDIA_TYPE.test(text) ? text : UNKNOWN_TYPE;

/**
 * A media type from outside: any text, read as `mediaTypeOf` reads it. Refusing it would lose the file that it
 * describes.
 */
export const mediaType = z.string().transform(mediaTypeOf);
