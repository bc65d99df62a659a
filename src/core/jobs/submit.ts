import { accountStub, jobStub } from '../../objects/stubs.ts';
import type { JobView } from '../../contract/job.ts';
import type { Admission, Graph, JobOptions, NewJob } from '../../contract/new-job.ts';
import type { Caller, Core } from '../context.ts';
import { faultsOf } from '../faults.ts';
import { jsonText } from '../json.ts';
import { invalidRequest, quote, type CoreProblem, type Fault } from '../problems.ts';
import { repeatable } from '../repeat.ts';
import { fail, ok, type Result } from '../result.ts';
import { unknownNodes } from '../workflows/catalog.ts';
import { checkGraph } from '../workflows/check.ts';
import { parseWorkflow } from '../workflows/parse.ts';
import { resolveInputs, storeInline, type ResolvedInputs } from './inputs.ts';
import { jobRequestSchema, tooMany } from './request.ts';

/** An admission outlives the job's deadline by this, then it lapses by itself: a slot must never be lost to a crash. */
const ADMISSION_SLACK_MS = 120_000;

type Checked = ResolvedInputs & {
  workflow: Graph;
  endpoint: string;
  metadata: Record<string, string>;
  options: JobOptions;
  finishWithinS: number;
};

/**
 * Takes a job: checks everything, asks the account for admission, stores what came inline, and hands the job to its object.
 * The job exists, durably, when this returns it. Nothing is stored or counted for a request that has a fault.
 */
export async function submitJob(core: Core, caller: Caller, body: unknown): Promise<Result<JobView, CoreProblem>> {
  const checked = await checkRequest(core, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { workflow, inputs, inline, endpoint, metadata, options, finishWithinS } = checked.value;
  const id = core.newId();
  const created_at = core.clock();
  const deadline = created_at + Math.round(finishWithinS * 1000);

  const expires_at = deadline + core.config.policy.deadline_grace * 1000 + ADMISSION_SLACK_MS;
  const admission = await repeatable(() => accountStub(core.env, caller.account).admit({ job: id, expires_at }));
  if (!admission.admitted) {
    return fail(refused(admission));
  }
  const job: NewJob = {
    id,
    account: caller.account,
    endpoint,
    workflow: jsonText(workflow),
    inputs,
    options,
    metadata,
    created_at,
    deadline,
  };
  try {
    await storeInline(core, caller, inline);
    return ok(await repeatable(() => jobStub(core.env, id).create(job)));
  } catch (error) {
    // If the job was made after all, it releases its own admission at its end; releasing twice does no harm.
    await repeatable(() => accountStub(core.env, caller.account).release(id)).catch(() => {});
    throw error;
  }
}

/** All faults of the request together: those of its shape, of its graph, and of its inputs. */
async function checkRequest(core: Core, caller: Caller, body: unknown): Promise<Result<Checked, CoreProblem>> {
  const faults = tooMany(body, core.config.limits);
  if (faults.length > 0) {
    return fail(invalidRequest(nonEmpty(faults)));
  }
  const parsed = jobRequestSchema.safeParse(body);
  if (!parsed.success) {
    faults.push(...faultsOf(parsed.error));
  }
  const graph = workflowOf(body, core, faults);
  if (!parsed.success) {
    return fail(invalidRequest(nonEmpty(faults)));
  }
  const { endpoint, inputs: requested, metadata, options, finish_within } = parsed.data;
  if (!Object.hasOwn(core.config.endpoints, endpoint)) {
    const detail = `there is no endpoint ${quote(endpoint)}`;
    faults.push({ pointer: '#/endpoint', code: 'unknown_endpoint', detail });
  } else if (graph !== null) {
    faults.push(...(await unknownNodes(core, endpoint, graph, ['workflow'])));
  }
  const { max_finish_within, finish_within: usual } = core.config.policy;
  const finishWithinS = finish_within ?? usual;
  if (finishWithinS > max_finish_within) {
    const detail = `finish_within may be ${max_finish_within} seconds`;
    faults.push({ pointer: '#/finish_within', code: 'out_of_range', detail });
  }
  const { inputs, inline, faults: inputFaults } = await resolveInputs(core, caller, requested);
  faults.push(...inputFaults);
  return graph === null || faults.length > 0
    ? fail(invalidRequest(nonEmpty(faults)))
    : ok({ workflow: graph, inputs, inline, endpoint, metadata, options, finishWithinS });
}

/** The graph, if it can run; its faults are added to the list. */
function workflowOf(body: unknown, core: Core, faults: Fault[]): Graph | null {
  if (typeof body !== 'object' || body === null || !('workflow' in body)) {
    return null;
  }
  const parsed = parseWorkflow(body.workflow, core.config.limits, ['workflow']);
  if (!parsed.ok) {
    faults.push(...parsed.problem);
    return null;
  }
  const found = checkGraph(parsed.value, core.config.limits, ['workflow']);
  faults.push(...found);
  return found.length === 0 ? parsed.value : null;
}

function nonEmpty(faults: readonly Fault[]): [Fault, ...Fault[]] {
  const [first, ...rest] = faults;
  if (first === undefined) {
    throw new Error('a request was refused without a fault');
  }
  return [first, ...rest];
}

function refused(admission: Admission & { admitted: false }): CoreProblem {
  const { code, limit, window_s, retry_after_s } = admission;
  const detail =
    code === 'too_many_jobs'
      ? `${limit} jobs may be unfinished at a time`
      : `${limit} jobs may be submitted in ${window_s ?? 60} seconds`;
  return { code, detail, retryAfterS: Math.max(1, Math.ceil(retry_after_s)) };
}
