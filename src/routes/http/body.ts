import type { Context } from 'hono';
import { withIdleTimeout } from '../../lib/stalled-stream.ts';
import { JsonExtractor, type TextSink } from '../../domain/json-extract.ts';
import { parseJson } from '../../domain/json.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { chunksOf } from '../../lib/chunks.ts';
import type { AppEnv } from './app-env.ts';
import type { Problem } from '../../domain/problems.ts';
import { problemResponse } from './problem.ts';

/** How long a body may be on its way, in ms: as long as 100 MiB, the largest one, takes at 1 Mbit/s (14 minutes). */
export const MAX_BODY_MS = 15 * 60_000;

/** Largest body of a route that has no limit of its own: room for every field of its schema, written with escapes. */
export const SMALL_BODY_BYTES = 64 * 1024;

const KEY_REVOKED = 'The API key was revoked while the request body was being sent.';

/** What to do with a file that makes a body too large; for bodies that may hold files. */
const LARGE_FILES_ADVICE =
  'Upload large files first (POST /v1/assets, or POST /v1/uploads in parts) and name them by "asset".';

const JSON_TYPE = /^application\/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;\s*charset="?utf-8"?\s*)?$/i;

/**
 * The body as parsed JSON. Its type is checked before it is read, and its size while it is read.
 * @param limit bytes that the body may have; never more than `max_body_bytes`
 */
export const readJsonBody = (c: Context<AppEnv>, limit: number = SMALL_BODY_BYTES): Promise<Result<unknown, Problem>> =>
  readDocument(c, new JsonExtractor([], () => noText), { limit });

/** What a body without files has of them. */
const noText: TextSink = { write: () => {}, end: () => '' };

/**
 * The same of a body that holds more than its document: `extractor` takes the rest out of it as it comes.
 * @param documentLimit bytes that the document may have
 * @param see is shown every chunk of the body
 */
export async function readDocument(
  c: Context<AppEnv>,
  extractor: JsonExtractor,
  { limit, documentLimit = limit, see }: { limit: number; documentLimit?: number; see?: OnChunk },
): Promise<Result<unknown, Problem>> {
  if (!JSON_TYPE.test(c.req.header('content-type') ?? '')) {
    return fail({ code: 'unsupported_media_type', detail: 'Content-Type must be application/json.' });
  }
  const read = await readBounded(c, Math.min(limit, c.var.context.config.limits.max_body_bytes), async (chunk) => {
    await see?.(chunk);
    await extractor.push(chunk);
    return extractor.documentBytes > documentLimit ? documentTooLarge(documentLimit) : null;
  });
  if (!read.ok) {
    return read;
  }
  const document = extractor.finish();
  return document === null
    ? fail({ code: 'invalid_json', detail: 'The body is not UTF-8.' })
    : parseJson(document.text, document.cuts);
}

const documentTooLarge = (limit: number): Problem => ({
  code: 'body_too_large',
  detail: `The body without the content of its files ("data") may be at most ${limit} bytes on this route.`,
});

/**
 * The same for a route whose every field has a default: an empty body without a Content-Type is `{}`. Over HTTP, a POST
 * without a body has an empty one.
 */
export async function readOptionalJsonBody(c: Context<AppEnv>): Promise<Result<unknown, Problem>> {
  if (c.req.header('content-type') !== undefined) {
    return readJsonBody(c);
  }
  const empty = await readBounded(c, 0, () => null);
  return empty.ok ? ok({}) : fail({ code: 'unsupported_media_type', detail: 'Content-Type must be application/json.' });
}

/**
 * The body as it arrives. The stream throws when it takes too long or stalls, and at its end when the key has been
 * revoked; `refusal` then says so.
 */
export function incomingBody(c: Context<AppEnv>): {
  chunks: AsyncGenerator<Uint8Array, void, undefined>;
  refusal: () => Promise<Problem | null>;
} {
  let isAuthorized: Promise<boolean> | null = null;
  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of bodyOf(c)) {
      if (isOverdue(c)) {
        throw new Error('The request body took too long to arrive.');
      }
      yield chunk;
    }
    isAuthorized = c.var.recheckAuth();
    if (!(await isAuthorized)) {
      throw new Error(KEY_REVOKED);
    }
  }
  // An error of the check is not the client's: it is thrown again here.
  const refusal = async (): Promise<Problem | null> =>
    isAuthorized === null || (await isAuthorized) ? null : { code: 'unauthorized', detail: KEY_REVOKED };
  return { chunks: chunks(), refusal };
}

const bodyOf = (c: Context<AppEnv>): AsyncGenerator<Uint8Array, void, undefined> =>
  chunksOf(c.req.raw.body ?? new Blob([]).stream(), withIdleTimeout);

const isOverdue = (c: Context<AppEnv>): boolean => c.var.context.clock() - c.var.startedAt > MAX_BODY_MS;

/** Receives a chunk, whose memory may be reused when the promise resolves. */
type OnChunk = (chunk: Uint8Array) => Promise<unknown>;

/**
 * Reads a body of at most `limit` bytes. A stated length over the limit is refused before the first byte is read.
 * @param take receives each chunk, and answers why the body is refused, or null
 */
export async function readBounded(
  c: Context<AppEnv>,
  limit: number,
  take: (chunk: Uint8Array) => Promise<Problem | null> | null,
): Promise<Result<null, Problem>> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    return fail({
      code: 'unsupported_media_type',
      detail: 'Content-Encoding is not supported. Send the body as it is.',
    });
  }
  const advice = limit < c.var.context.config.limits.max_body_bytes ? '' : ` ${LARGE_FILES_ADVICE}`;
  const large: Problem = {
    code: 'body_too_large',
    detail: `A body may be at most ${limit} bytes on this route.${advice}`,
  };
  if (statedLength(c) > limit) {
    return fail(large);
  }
  const chunks = bodyOf(c);
  try {
    for (let size = 0; ;) {
      const next = await chunks.next().catch(() => null);
      if (next === null) {
        return fail({ code: 'incomplete_body', detail: 'The request body was incomplete or timed out.' });
      }
      if (next.done === true) {
        break;
      }
      if (isOverdue(c)) {
        return fail({ code: 'incomplete_body', detail: 'The request body took too long to arrive.' });
      }
      size += next.value.length;
      const refused = size > limit ? large : await take(next.value);
      if (refused !== null) {
        return fail(refused);
      }
    }
  } finally {
    await chunks.return();
  }
  return (await c.var.recheckAuth()) ? ok(null) : fail({ code: 'unauthorized', detail: KEY_REVOKED });
}

/** `Content-Length`; 0 where it is missing. */
export const statedLength = (c: Context<AppEnv>): number => Number(c.req.header('content-length') ?? 0) || 0;

/** A refusal of either kind as an answer. */
export const refuse = problemResponse;
