import type { Idempotency } from '../../contract/admission.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { jsonText } from '../../domain/json.ts';
import { IDEMPOTENCY_KEY_RULE, idempotencyKeySchema } from '../../domain/idempotency-key.ts';
import { isTransient } from '../../durable-objects/shared/rpc-retry.ts';
import { pointer, type Problem } from '../../domain/problems.ts';
import { fail, type Result } from '../../domain/result.ts';
import { isRecord } from '../../domain/workflow/parse.ts';
import { deadlineIn } from '../../lib/stalled-stream.ts';
import type { InlineFiles } from './inline.ts';
import { FETCH_ALL_TIMEOUT_MS } from './inputs.ts';
import { submitJob, type Submitted, type SubmitOptions } from './submit.ts';
import { errorMessage } from '../../lib/error-message.ts';
import { sha256Hex } from '../../lib/hash.ts';

/**
 * The most jobs in a batch. A job looks up or fetches at most 32 inputs, with up to six requests per input because of
 * redirects. 50 jobs stay below the 10,000 subrequests of one invocation (reference/cloudflare.md section 4).
 */
export const MAX_BATCH_JOBS = 50;
/** Jobs processed concurrently. An invocation may have six connections that wait for a response. */
const AT_ONCE = 6;

export type BatchOutcome = Result<Submitted, Problem>;

/**
 * Submits several jobs as if each had been submitted alone, in order: at a limit, the first jobs are admitted. A job
 * that is rejected or fails does not affect the others. `key`: the `Idempotency-Key` of the request. A job without a
 * key of its own gets one from it and its index. `isStillAuthorized`: as for a submit. The remote files of all jobs
 * share the time limit of one job.
 */
export async function submitBatch(
  context: ServiceContext,
  caller: Caller,
  { jobs, files }: { jobs: readonly unknown[]; files: InlineFiles },
  key: string | null,
  isStillAuthorized: () => Promise<boolean>,
  log: Log = consoleLog,
): Promise<BatchOutcome[]> {
  const turns = jobs.map(() => Promise.withResolvers<void>());
  const outcomes: Promise<BatchOutcome>[] = [];
  const latest = new Map<string, Promise<BatchOutcome>>();
  const fetchDeadline = deadlineIn(FETCH_ALL_TIMEOUT_MS);
  const one = async (at: number, item: Item, same: Promise<BatchOutcome> | undefined): Promise<BatchOutcome> => {
    const before = turns[at - 1]?.promise;
    try {
      await outcomes[at - AT_ONCE];
      // A second job with the same key repeats the first, so it waits for the first's outcome.
      await same;
      return await submitOne(context, caller, item, files, {
        isStillAuthorized,
        fetchDeadline,
        inTurn: async (admit) => {
          await before;
          return admit().finally(() => turns[at]?.resolve());
        },
      });
    } catch (error) {
      log({
        event: 'batch_job_failed',
        account: caller.account,
        index: at,
        detail: errorMessage(error),
      });
      return fail(
        isTransient(error)
          ? {
              code: 'unavailable',
              detail: 'A part of the platform is overloaded or restarting. Submit this job again.',
            }
          : { code: 'internal', detail: 'The gateway failed on this job. Its log has the cause under the request id.' },
      );
    } finally {
      // A job that ends before its turn passes the turn on only after the jobs before it have had theirs.
      void before?.then(() => turns[at]?.resolve());
      if (at === 0) {
        turns[0]?.resolve();
      }
    }
  };
  for (const [at, body] of jobs.entries()) {
    const item = itemOf(body, key === null ? null : `${key}\n${at}`);
    const outcome = one(at, item, item.key === null ? undefined : latest.get(item.key));
    outcomes.push(outcome);
    if (item.key !== null) {
      latest.set(item.key, outcome);
    }
  }
  return Promise.all(outcomes).finally(fetchDeadline.stop);
}

/** A job of a batch: the body and the key for a submit. `given`: the client's own key, not yet validated. */
type Item = { body: unknown; key: string | null; given: unknown };

function itemOf(body: unknown, derived: string | null): Item {
  if (!isRecord(body)) {
    return { body, key: derived, given: undefined };
  }
  const { idempotency_key: given, ...rest } = body;
  return { body: rest, key: typeof given === 'string' ? given : derived, given };
}

async function submitOne(
  context: ServiceContext,
  caller: Caller,
  { body, key, given }: Item,
  files: InlineFiles,
  options: Pick<SubmitOptions, 'inTurn' | 'isStillAuthorized' | 'fetchDeadline'>,
): Promise<BatchOutcome> {
  if (given !== undefined && !idempotencyKeySchema.safeParse(given).success) {
    const detail = `"idempotency_key" ${IDEMPOTENCY_KEY_RULE}.`;
    const issue = { pointer: pointer(['idempotency_key']), code: 'invalid_value' as const, detail };
    return fail({ code: 'invalid_idempotency_key', detail, errors: [issue] });
  }
  const idempotency = key === null ? null : await idempotencyOf(key, body);
  return submitJob(context, caller, { value: body, files }, { ...options, idempotency });
}

/** The fingerprint covers the parsed value of a job, because its bytes are not available after the batch is parsed. */
async function idempotencyOf(key: string, body: unknown): Promise<Idempotency> {
  const text = new TextEncoder().encode(`POST /v1/jobs/batch\n${jsonText(body)}`);
  return { key, fingerprint: await sha256Hex(text) };
}
