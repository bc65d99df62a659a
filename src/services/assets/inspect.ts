import type { Limits } from '../../contract/limits.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { MAX_READ_WHOLE_BYTES, measure, type Measured } from '../../domain/files/pictures/measure.ts';
import { MAX_PICTURES } from '../../domain/files/pictures/tally.ts';
import { parseBeginning, parseStored, type Read, type Parser } from '../../domain/files/pictures/file-cursor.ts';
import { unsupportedMedia, type ContentProblem } from './refusals.ts';
import { HEAD_BYTES, sniff } from '../../domain/files/sniff.ts';

/** The number of bytes that `inspect` and `inspectStored` read first. Most images state their size within them. */
export const INSPECTED_BYTES = 1024 * 1024;

type File = { size_bytes: number; name: string | undefined };
type Inspected = Result<{ content_type: string }, ContentProblem>;

/**
 * Returns the type of a file by its first bytes and its size, or why the gateway does not accept it: an unsupported
 * type, an image without a size, or an image that is too large when decoded. Checks only `beginning`, even when the
 * file is longer.
 */
export function inspect(beginning: Uint8Array, file: File, limits: Limits): Inspected {
  return begin(beginning, file, limits, (parser) => {
    const measured = parseBeginning(parser, beginning);
    return measured === 'unfinished' ? null : measured;
  });
}

/** The same for a complete file in storage. */
export async function inspectStored(beginning: Uint8Array, file: File, limits: Limits, read: Read): Promise<Inspected> {
  let parser: Parser<Measured> | null = null;
  const known = begin(beginning, file, limits, (created) => {
    parser = created;
    return null;
  });
  return known.ok && parser !== null
    ? resultOf(known.value.content_type, await measureStored(parser, read), limits)
    : known;
}

async function measureStored(parser: Parser<Measured>, read: Read): Promise<Measured> {
  const measured = await parseStored(parser, read);
  return measured === 'unfinished' ? { problem: 'unreadable' } : measured;
}

function begin(
  beginning: Uint8Array,
  { size_bytes, name }: File,
  limits: Limits,
  runParser: (parser: Parser<Measured>) => Measured,
): Inspected {
  const content_type = sniff(beginning.subarray(0, HEAD_BYTES), size_bytes, name);
  if (content_type === null) {
    return fail(unsupportedMedia);
  }
  const parser = measure(content_type, size_bytes, {
    picture: limits.max_image_pixels,
    file: limits.max_animation_pixels,
  });
  return resultOf(content_type, parser === null ? null : runParser(parser), limits);
}

function resultOf(content_type: string, measured: Measured, limits: Limits): Inspected {
  switch (measured?.problem) {
    case undefined:
      return ok({ content_type });
    case 'no_size':
      return refuse('unsupported_media', `The file begins as ${content_type}, but does not state its size in pixels.`);
    case 'unreadable':
      return refuse(
        'unsupported_media',
        `The file is not a regular ${content_type} file. Save it again with another program.`,
      );
    case 'file_too_large':
      return refuse('image_too_large', `A file of type ${content_type} may be at most ${MAX_READ_WHOLE_BYTES} bytes.`);
    case 'pixels':
      return refuse('image_too_large', detailOf(measured, limits));
  }
}

function detailOf({ tally }: Extract<Measured, { problem: 'pixels' }>, limits: Limits): string {
  const { problem, largest, pictures, pixels } = tally;
  return problem === 'picture'
    ? `The image has ${largest?.width} × ${largest?.height} pixels; at most ${limits.max_image_pixels} are allowed.`
    : problem === 'pictures'
      ? `The file may have at most ${MAX_PICTURES} frames or pages.`
      : `The first ${pictures} frames or pages have ${pixels} pixels together; at most ${limits.max_animation_pixels} are allowed.`;
}

const refuse = (code: ContentProblem['code'], detail: string): Inspected => fail({ code, detail });
