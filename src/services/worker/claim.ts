import type { JobOptions } from '../../contract/new-job.ts';
import { MAX_INLINE_TEXT_BYTES, type ClaimRequest } from '../../contract/worker.ts';
import { assetKey } from '../../storage/r2/keys.ts';
import { presigner } from '../../storage/r2/presign.ts';
import type { ServiceContext } from '../context.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { wantsCatalog } from './catalog.ts';
import { refusal, type WorkerRefusal } from './access.ts';
import { sha256Hex } from '../../lib/hash.ts';
import { uuidFromHash } from '../../lib/ids.ts';
import { iso } from '../../lib/time.ts';

/**
 * How long a graph may execute without a message from ComfyUI before it counts as hung, in seconds. Most nodes send
 * nothing while they work: loading 40 GB from a network volume at 200 MB/s takes 200 s. A ComfyUI that does not respond
 * at all is noticed within two minutes.
 */
const SILENCE_S = 900;
/** Presigned input URLs outlive the deadline by this time, to tolerate clock differences. */
const URL_GRACE_MS = 60_000;

/**
 * The response to a granted claim (docs/reference/worker-contract.md). `workflow` is already JSON text and is inserted
 * unchanged.
 */
export type ClaimAnswer = {
  job: string;
  attempt: number;
  prompt_id: string;
  workflow: string;
  inputs: { name: string; url: string; sha256: string; size_bytes: number; content_type: string }[];
  options: JobOptions;
  limits: { max_output_bytes: number; max_outputs: number; max_text_bytes: number; silence_s: number };
  deadline: string;
  server_time: string;
  catalog_wanted: boolean;
  scope: string;
};

/** Grants an attempt to one worker, and returns everything the worker needs. */
export async function claim(
  context: ServiceContext,
  job: string,
  request: ClaimRequest,
): Promise<Result<ClaimAnswer, WorkerRefusal>> {
  const answer = await context.env.JOB.getByName(job).claim(request);
  if ('refused' in answer) {
    return fail(refusal(answer.refused));
  }
  const { account, endpoint, workflow, inputs, options, deadline } = answer.granted;
  const now = context.clock();
  const sign = presigner(context.config.s3);
  const life_s = (deadline - now + URL_GRACE_MS) / 1000;
  const [signed, prompt_id, catalog_wanted, scope] = await Promise.all([
    Promise.all(
      inputs.map(async ({ key, ...input }) => ({
        ...input,
        url: await sign.get(key ?? assetKey(account, input.sha256), life_s),
      })),
    ),
    promptId(job, request.attempt),
    wantsCatalog(context, endpoint, request.catalog ?? null),
    scopeOf(account),
  ]);
  const { limits } = context.config;
  return ok({
    job,
    attempt: request.attempt,
    prompt_id,
    workflow,
    inputs: signed,
    options,
    limits: {
      max_output_bytes: limits.max_output_bytes,
      max_outputs: limits.max_outputs,
      max_text_bytes: MAX_INLINE_TEXT_BYTES,
      silence_s: SILENCE_S,
    },
    deadline: iso(deadline),
    server_time: iso(now),
    catalog_wanted,
    scope,
  });
}

/**
 * Tells a warm worker which jobs may share ComfyUI's cache: equal for all jobs of an account, without revealing the
 * account.
 */
const scopeOf = (account: string): Promise<string> => sha256Hex(`scope:${account}`);

/**
 * The prompt id of an attempt in ComfyUI. The first attempt uses the job's id, so that cancel and inspection need no
 * mapping. A later attempt on the same ComfyUI must not find the history of an earlier one.
 */
async function promptId(job: string, attempt: number): Promise<string> {
  if (attempt === 1) {
    return job;
  }
  const digest = await sha256Hex(`prompt:${job}:${attempt}`);
  // Newer ComfyUI accepts canonical UUIDs only.
  return uuidFromHash(digest);
}
