import type { Caller, ServiceContext } from '../context.ts';
import { chunksOf } from '../../lib/chunks.ts';
import { fetchPublic } from '../../providers/public-fetch.ts';
import { publicUrl } from '../../domain/net/public-url.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { createAsset } from './create.ts';
import { deadlineIn, until } from '../../lib/stalled-stream.ts';
import { tooLarge } from './refusals.ts';

/** The time limit for one file, from connecting to the last byte. */
export const FETCH_TIMEOUT_MS = 30_000;

/** Why a file could not be fetched. Of the remote response, only the status is quoted. */
export type FetchProblem = {
  code:
    | 'input_url_refused'
    | 'input_fetch_failed'
    | 'file_too_large'
    | 'unsupported_media'
    | 'image_too_large'
    | 'empty_file'
    | 'storage_full';
  detail: string;
};

/**
 * Fetches a file from the public internet into the caller's assets. `publicUrl` checks every redirect. The request
 * carries none of our headers or credentials, and has limits of time and size. The content decides the type; the remote
 * Content-Type is ignored.
 * @param requestEnded aborts when the request that needs the file ends
 */
export async function fetchAsset(
  context: ServiceContext,
  caller: Caller,
  text: string,
  name: string,
  requestEnded: AbortSignal,
): Promise<Result<StoredFile, FetchProblem>> {
  const own = deadlineIn(FETCH_TIMEOUT_MS);
  const signal = AbortSignal.any([own.signal, requestEnded]);
  try {
    const response = await follow(context, text, signal);
    if (!response.ok) {
      return response;
    }
    const { body, headers, status } = response.value;
    if (status !== 200 || body === null) {
      await body?.cancel();
      return fail({ code: 'input_fetch_failed', detail: `The URL answered ${status}.` });
    }
    const stated = statedLength(headers);
    if (stated !== null && stated > context.config.limits.max_asset_bytes) {
      await body.cancel();
      return fail(problemOf(tooLarge(context.config.limits.max_asset_bytes, context.config.limits.max_upload_bytes)));
    }
    const chunks = whole(body, stated, signal);
    const created = await createAsset(context, caller, {
      chunks,
      name,
      forJob: true,
      ...(stated === null ? {} : { size: { bytes: stated, isExact: true } }),
    });
    if (created.ok) {
      return ok(created.value.asset);
    }
    return fail(signal.aborted ? tooSlow : problemOf(created.problem));
  } finally {
    own.stop();
  }
}

const tooSlow: FetchProblem = { code: 'input_fetch_failed', detail: 'The file did not arrive in time.' };

/** The Content-Length of the response; null when it is missing, or is the size before decompression. */
function statedLength(headers: Headers): number | null {
  const stated = headers.get('content-length');
  return stated !== null && /^\d{1,15}$/.test(stated) && !headers.has('content-encoding') ? Number(stated) : null;
}

/**
 * The body. It fails at the time limit, and when its length differs from Content-Length: a truncated file must not be
 * stored.
 */
async function* whole(
  body: ReadableStream<Uint8Array>,
  stated: number | null,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let size = 0;
  try {
    for await (const chunk of chunksOf(body, until(signal))) {
      size += chunk.length;
      yield chunk;
    }
    if (stated !== null && size !== stated) {
      throw new Error('The body has a different length than its Content-Length.');
    }
  } finally {
    // Closes the connection of a server that sends more than the limit.
    await body.cancel().catch(() => {});
  }
}

async function follow(
  context: ServiceContext,
  text: string,
  signal: AbortSignal,
): Promise<Result<Response, FetchProblem>> {
  const answer = await fetchPublic(text, (url) => publicUrl(url, context.config.publicUrl), signal);
  switch (answer.kind) {
    case 'answer':
      return ok(answer.response);
    case 'refused': {
      const detail =
        answer.hop === 0 ? `The URL ${answer.problem}.` : `The URL redirects to a URL that ${answer.problem}.`;
      return fail({ code: 'input_url_refused', detail });
    }
    case 'too_many_redirects':
      return fail({ code: 'input_fetch_failed', detail: `The URL redirects more than ${answer.limit} times.` });
    case 'no_answer':
      return fail({
        code: 'input_fetch_failed',
        detail: signal.aborted ? tooSlow.detail : 'The host did not answer.',
      });
  }
}

function problemOf(problem: { code: string; detail: string }): FetchProblem {
  switch (problem.code) {
    case 'file_too_large':
    case 'unsupported_media':
    case 'image_too_large':
    case 'empty_file':
    case 'storage_full':
      return { code: problem.code, detail: problem.detail };
    default:
      return { code: 'input_fetch_failed', detail: 'The file did not arrive completely.' };
  }
}
