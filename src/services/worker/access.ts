import { isUuidV7 } from '../../lib/ids.ts';
import { isTokenValid, type TokenPurpose } from '../../providers/tokens.ts';
import type { ServiceContext } from '../context.ts';
import { MAX_ATTEMPTS } from '../../domain/job/transition.ts';

/** Why a worker's call was rejected, with the codes of docs/reference/worker-contract.md. */
export type WorkerRefusal =
  | { code: 'invalid_token' }
  | { code: 'job_not_found' }
  | { code: 'claimed_elsewhere' }
  | { code: 'job_over' }
  | { code: 'output_too_large'; names: string[] }
  | { code: 'output_missing'; missing: string[] };

/** Whether this token belongs to this attempt of this job. */
export const isTokenForAttempt = (
  context: ServiceContext,
  purpose: TokenPurpose,
  job: string,
  attempt: number,
  token: string | undefined,
): Promise<boolean> =>
  token === undefined || !isUuidV7(job)
    ? Promise.resolve(false)
    : isTokenValid(context.config.tokenSecret, { purpose, job, attempt }, token, context.clock());

/**
 * Returns the attempt of this job to which a token belongs, or null. The token does not contain the attempt, and most
 * calls name it only in their body, which must not be read before the token is verified. So all attempts that a job may
 * have are tried.
 */
export async function attemptOf(
  context: ServiceContext,
  purpose: TokenPurpose,
  job: string,
  token: string | undefined,
): Promise<number | null> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    if (await isTokenForAttempt(context, purpose, job, attempt, token)) {
      return attempt;
    }
  }
  return null;
}

/** Translates a refusal of the Job object to the worker contract. */
export const refusal = (refused: 'not_found' | 'claimed_elsewhere' | 'finished'): WorkerRefusal =>
  refused === 'not_found'
    ? { code: 'job_not_found' }
    : refused === 'finished'
      ? { code: 'job_over' }
      : { code: 'claimed_elsewhere' };
