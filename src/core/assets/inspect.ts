import type { Limits } from '../../config.ts';
import { fail, ok, type Result } from '../result.ts';
import { IMAGE_HEADER_BYTES, imageSize } from './image-size.ts';
import { unsupportedMedia, type ContentProblem } from './refusals.ts';
import { HEAD_BYTES, sniff } from './sniff.ts';

/** How much of a file's beginning `inspect` wants to see. */
export const INSPECTED_BYTES = Math.max(HEAD_BYTES, IMAGE_HEADER_BYTES);

/**
 * What a file is, by its beginning and its size in bytes, or why it is not taken: of no kind that a workflow could use, a picture
 * without a size, or one that would be too large when it is decoded.
 */
export function inspect(
  beginning: Uint8Array,
  file: { size_bytes: number; name: string | undefined },
  limits: Limits,
): Result<{ content_type: string }, ContentProblem> {
  const content_type = sniff(beginning.subarray(0, HEAD_BYTES), file.size_bytes, file.name);
  if (content_type === null) {
    return fail(unsupportedMedia);
  }
  const size = imageSize(beginning.subarray(0, INSPECTED_BYTES), content_type);
  if (size === 'malformed') {
    return fail({ code: 'unsupported_media', detail: `the file begins as ${content_type} but does not say its size` });
  }
  if (size !== 'unread' && size.width * size.height > limits.max_image_pixels) {
    return fail({
      code: 'image_too_large',
      detail: `the picture has ${size.width} × ${size.height} pixels; ${limits.max_image_pixels} are allowed in all`,
    });
  }
  return ok({ content_type });
}
