import type { Caller, Core } from '../context.ts';
import { fetchPublic } from '../../providers/public-fetch.ts';
import { publicUrl } from '../net/public-url.ts';
import { fail, ok, type Result } from '../result.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { createAsset } from './create.ts';
import { tooLarge } from './refusals.ts';

/** A file has this long to arrive, from the first connection to its last byte. */
const FETCH_TIMEOUT_MS = 30_000;

/** Why a file could not be had. Nothing of the other side's answer is quoted but its status. */
export type FetchProblem = {
  code: 'input_url_refused' | 'input_fetch_failed' | 'file_too_large' | 'unsupported_media' | 'empty_file';
  detail: string;
};

/**
 * Fetches a file from the public internet into the caller's assets: by rule of `publicUrl` at every hop, without our headers or
 * credentials, within a time and a size. What arrives is sniffed; what the other side calls it counts for nothing.
 */
export async function fetchAsset(
  core: Core,
  caller: Caller,
  text: string,
  name: string,
): Promise<Result<StoredFile, FetchProblem>> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), FETCH_TIMEOUT_MS);
  try {
    const response = await follow(core, text, patience.signal);
    if (!response.ok) {
      return response;
    }
    const { body, headers, status } = response.value;
    if (status !== 200 || body === null) {
      await body?.cancel();
      return fail({ code: 'input_fetch_failed', detail: `the URL answered ${status}` });
    }
    const stated = Number(headers.get('content-length') ?? Number.NaN);
    if (stated > core.config.limits.max_asset_bytes) {
      await body.cancel();
      return fail(problemOf(tooLarge(core.config.limits.max_asset_bytes)));
    }
    const created = await createAsset(core, caller, { stream: body, name, forJob: true });
    return created.ok ? ok(created.value.asset) : fail(problemOf(created.problem));
  } finally {
    clearTimeout(timer);
  }
}

async function follow(core: Core, text: string, signal: AbortSignal): Promise<Result<Response, FetchProblem>> {
  const answer = await fetchPublic(text, (url) => publicUrl(url, core.config.publicUrl), signal);
  switch (answer.kind) {
    case 'answer':
      return ok(answer.response);
    case 'refused': {
      const detail = answer.hop === 0 ? answer.problem : `it redirects to a URL that ${answer.problem}`;
      return fail({ code: 'input_url_refused', detail });
    }
    case 'too_many_redirects':
      return fail({ code: 'input_fetch_failed', detail: `the URL redirects more than ${answer.most} times` });
    case 'no_answer':
      return fail({
        code: 'input_fetch_failed',
        detail: signal.aborted ? 'the file did not arrive in time' : 'the host did not answer',
      });
  }
}

function problemOf(problem: { code: string; detail: string }): FetchProblem {
  switch (problem.code) {
    case 'file_too_large':
    case 'unsupported_media':
    case 'empty_file':
      return { code: problem.code, detail: problem.detail };
    default:
      return { code: 'input_fetch_failed', detail: 'the file did not arrive whole' };
  }
}
