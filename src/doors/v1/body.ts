import type { Context } from 'hono';
import { whileItFlows } from '../../core/assets/flow.ts';
import { parseJson } from '../../core/json.ts';
import type { CoreProblem } from '../../core/problems.ts';
import { fail, ok, type Result } from '../../core/result.ts';
import { chunksOf } from '../../core/chunks.ts';
import type { AppEnv } from '../app-env.ts';
import { problem, type ProblemCode } from '../problem.ts';

/** A refusal by the core, or one that only HTTP knows. */
export type Refusal = CoreProblem | { code: ProblemCode; detail: string };

/** How long a body may be on its way, in ms: as long as 100 MiB, the largest one, takes at 1 Mbit/s (14 minutes). */
export const MAX_BODY_MS = 15 * 60_000;

/** Largest body of a route that has no limit of its own: room for every field of its schema, written with escapes. */
export const SMALL_BODY_BYTES = 64 * 1024;

const ENDED = 'the key was ended while the body of this request was on its way';

/** What to do with a file that makes a body too large; for bodies that may hold files. */
const LARGE_FILES_ADVICE =
  'Upload large files first (POST /v1/assets, or POST /v1/uploads in parts) and name them by "asset".';

const JSON_TYPE = /^application\/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;\s*charset="?utf-8"?\s*)?$/i;

/**
 * The body as parsed JSON. Its type is checked before it is read, and its size while it is read. `see` is shown the bytes.
 * @param limit bytes that the body may have; never more than `max_body_bytes`
 */
export async function readJsonBody(
  c: Context<AppEnv>,
  limit: number = SMALL_BODY_BYTES,
  see: (chunk: Uint8Array) => Promise<void> = () => Promise.resolve(),
): Promise<Result<unknown, Refusal>> {
  if (!JSON_TYPE.test(c.req.header('content-type') ?? '')) {
    return fail({ code: 'unsupported_media_type', detail: 'Content-Type must be application/json' });
  }
  // Decoded as it comes: base64 in a body can be tens of MB, and bytes and text of it need not be in memory together.
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
  const texts: string[] = [];
  let utf8 = true;
  const read = await readBounded(c, Math.min(limit, c.var.core.config.limits.max_body_bytes), async (chunk) => {
    await see(chunk);
    utf8 &&= decode(decoder, chunk, texts);
  });
  if (!read.ok) {
    return read;
  }
  utf8 &&= decode(decoder, null, texts);
  return utf8 ? parseJson(texts.join('')) : fail({ code: 'invalid_json', detail: 'the body is not UTF-8' });
}

/**
 * The same for a route whose every field has a default: no Content-Type and nothing in the body stand for `{}`. Over real HTTP a POST
 * without a body has an empty one, not none.
 */
export async function readOptionalJsonBody(c: Context<AppEnv>): Promise<Result<unknown, Refusal>> {
  if (c.req.header('content-type') !== undefined) {
    return readJsonBody(c);
  }
  const nothing = await readBounded(c, 0, () => {});
  return nothing.ok
    ? ok({})
    : fail({ code: 'unsupported_media_type', detail: 'Content-Type must be application/json' });
}

/** Adds the text of one more chunk; `null` ends it. False when it is no UTF-8. */
function decode(decoder: TextDecoder, chunk: Uint8Array | null, texts: string[]): boolean {
  try {
    texts.push(chunk === null ? decoder.decode() : decoder.decode(chunk, { stream: true }));
    return true;
  } catch {
    return false;
  }
}

/**
 * The body as it arrives. It breaks when it comes for too long, or not at all any more, and at its very end if whoever sends it may not
 * do so any more: `refusal` says so.
 */
export function arriving(c: Context<AppEnv>): {
  chunks: AsyncIterable<Uint8Array>;
  refusal: () => Promise<Refusal | null>;
} {
  let standing: Promise<boolean> | null = null;
  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of bodyOf(c)) {
      if (isOverdue(c)) {
        throw new Error('the body came for too long');
      }
      yield chunk;
    }
    standing = c.var.standing();
    if (!(await standing)) {
      throw new Error(ENDED);
    }
  }
  // A fault in asking is not the client's: it is thrown here again.
  const refusal = async (): Promise<Refusal | null> =>
    standing === null || (await standing) ? null : { code: 'unauthorized', detail: ENDED };
  return { chunks: chunks(), refusal };
}

const bodyOf = (c: Context<AppEnv>): AsyncIterable<Uint8Array> =>
  chunksOf(c.req.raw.body ?? new Blob([]).stream(), whileItFlows);

const isOverdue = (c: Context<AppEnv>): boolean => c.var.core.clock() - c.var.begun > MAX_BODY_MS;

/** Reads a body of at most `limit` bytes. A client that states a length over the limit is refused before a byte is read. */
export async function readBounded(
  c: Context<AppEnv>,
  limit: number,
  take: (chunk: Uint8Array) => Promise<void> | void,
): Promise<Result<null, Refusal>> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    return fail({ code: 'unsupported_media_type', detail: 'Content-Encoding is not taken here' });
  }
  const advice = limit < c.var.core.config.limits.max_body_bytes ? '' : ` ${LARGE_FILES_ADVICE}`;
  const large: Refusal = { code: 'body_too_large', detail: `A body may be at most ${limit} bytes here.${advice}` };
  if (statedLength(c) > limit) {
    return fail(large);
  }
  let size = 0;
  try {
    for await (const chunk of bodyOf(c)) {
      if (isOverdue(c)) {
        return fail({ code: 'incomplete_body', detail: 'the body came for too long' });
      }
      size += chunk.length;
      if (size > limit) {
        return fail(large);
      }
      await take(chunk);
    }
  } catch {
    return fail({ code: 'incomplete_body', detail: 'the body ended, or stood still, before it was complete' });
  }
  return (await c.var.standing()) ? ok(null) : fail({ code: 'unauthorized', detail: ENDED });
}

/** What Content-Length says; 0 when it says nothing, which proves nothing. */
export const statedLength = (c: Context<AppEnv>): number => Number(c.req.header('content-length') ?? 0) || 0;

/** A refusal of either kind as an answer. */
export const refuse = (c: Context<AppEnv>, refusal: Refusal): Response => {
  const { code, detail, errors } = { errors: undefined, ...refusal };
  return problem(c, code, { detail, errors });
};
