import type { Caller, Core } from '../context.ts';
import { publicUrl } from '../net/public-url.ts';
import { fail, ok, type Result } from '../result.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { createAsset } from './create.ts';
import { tooLarge } from './refusals.ts';

/** A file has this long to arrive, from the first connection to its last byte. */
const FETCH_TIMEOUT_MS = 30_000;
/** As browsers and curl do at the least; each hop is checked like the first (reference/runpod.md 4.3, `safe_get`). */
const MAX_REDIRECTS = 5;

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
  let next = text;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const allowed = publicUrl(next, core.config.publicUrl);
    if (!allowed.ok) {
      return fail({
        code: 'input_url_refused',
        detail: hop === 0 ? allowed.problem : `it redirects to a URL that ${allowed.problem}`,
      });
    }
    let response: Response;
    try {
      response = await fetch(allowed.value, { redirect: 'manual', signal });
    } catch {
      return fail({
        code: 'input_fetch_failed',
        detail: signal.aborted ? 'the file did not arrive in time' : 'the host did not answer',
      });
    }
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || location === null) {
      return ok(response);
    }
    await response.body?.cancel();
    next = URL.canParse(location, allowed.value) ? new URL(location, allowed.value).href : location;
  }
  return fail({ code: 'input_fetch_failed', detail: `the URL redirects more than ${MAX_REDIRECTS} times` });
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
