import { type AttemptView, type Environment, isTerminal, type JobView } from '../../contract/job.ts';
import type { JobNotice } from '../../contract/webhook.ts';
import type { Effect } from '../../domain/job/signals.ts';
import { chargeOf } from '../../domain/job/usage.ts';
import type { Attempt, JobState } from '../../domain/job/state.ts';
import { storedJson } from '../../lib/stored-json.ts';

/** The job as services see it. */
export function viewOf(state: JobState): JobView {
  const claimed = state.attempts.findLast((attempt) => attempt.claimed_at !== null);
  return {
    id: state.id,
    account: state.account,
    key: state.key,
    endpoint: state.endpoint,
    status: state.status,
    stage: state.stage,
    created_at: state.created_at,
    started_at: state.started_at,
    completed_at: state.completed_at,
    deadline: state.deadline,
    start_deadline: state.start_deadline,
    expires_at: (state.completed_at ?? state.deadline) + state.retention_ms,
    // Only the Account object has it (services/jobs/get.ts).
    queue_position: null,
    progress: state.progress,
    outputs: state.outputs,
    error: state.error,
    attempts: state.attempts.map((attempt) => ({
      number: attempt.number,
      endpoint: attempt.endpoint,
      status: attemptStatus(attempt),
      created_at: attempt.created_at,
      claimed_at: attempt.claimed_at,
      ended_at: attempt.ended_at,
      worker: attempt.worker?.id ?? null,
      environment: environmentOf(attempt),
      upstream_id: attempt.run_id,
      error: attempt.error,
    })),
    metadata: state.metadata,
    resolved: state.resolved,
    usage: usageOf(state),
    metrics: {
      queue_ms: claimed?.claimed_at ? claimed.claimed_at - state.created_at : null,
      cold_start_ms: claimed === undefined ? null : coldStartOf(claimed),
      execution_ms: state.timings['execution_ms'] ?? null,
      upload_ms: state.timings['upload_ms'] ?? null,
      total_ms: state.completed_at === null ? null : state.completed_at - state.created_at,
    },
    last_event: state.last_event,
  };
}

/** Reads a stored view. Fills in fields that an older release did not write. */
export function readView(text: string): JobView {
  const stored = storedJson<Omit<JobView, 'attempts'> & { attempts: StoredAttemptView[] }>(text);
  return {
    ...ADDED,
    ...stored,
    attempts: stored.attempts.map((attempt) => ({ endpoint: stored.endpoint, ...ADDED_TO_ATTEMPT, ...attempt })),
    metrics: { ...ADDED_TO_METRICS, ...stored.metrics },
  };
}

const ADDED = { key: '', start_deadline: null, queue_position: null } satisfies Partial<JobView>;
const ADDED_TO_ATTEMPT = { environment: null, upstream_id: null } satisfies Partial<AttemptView>;
const ADDED_TO_METRICS = { cold_start_ms: null } satisfies Partial<JobView['metrics']>;

type StoredAttemptView = Omit<AttemptView, 'endpoint' | keyof typeof ADDED_TO_ATTEMPT> & Partial<AttemptView>;

function environmentOf({ worker, report }: Attempt): Environment | null {
  return worker === null
    ? null
    : {
        worker_version: worker.version,
        comfyui_version: worker.comfyui_version ?? null,
        gpu: worker.gpu ?? null,
        image: worker.image ?? null,
        nodes: worker.nodes ?? null,
        models: report?.models ?? null,
        memory_free_bytes: report?.memory_free_bytes ?? null,
        disk_free_bytes: report?.disk_free_bytes ?? null,
      };
}

/**
 * From RunPod's acceptance of the run to the claim. Null when the claim came before the answer of `/run`, or that never
 * came.
 */
const coldStartOf = ({ accepted_at, claimed_at }: Attempt): number | null =>
  accepted_at === null || claimed_at === null || claimed_at < accepted_at ? null : claimed_at - accepted_at;

function usageOf(state: JobState): JobView['usage'] {
  const used = chargeOf(state);
  return used === null
    ? null
    : { billed_seconds: used.gpu_ms / 1000, cost_usd: state.price_per_second === null ? null : used.micro_usd / 1e6 };
}

const attemptStatus = (attempt: Attempt): JobView['attempts'][number]['status'] =>
  attempt.outcome ?? (attempt.phase === 'claimed' ? 'running' : 'waiting');

/** The job for a webhook event about a change of status: as it was at the change, even if the event is sent later. */
export function noticeOf(state: JobState, change: Extract<Effect, { kind: 'notify' }>): JobNotice {
  const finished = isTerminal(change.status);
  return {
    id: state.id,
    endpoint: state.endpoint,
    status: change.status,
    attempt: change.tries,
    created_at: state.created_at,
    started_at: state.started_at !== null && state.started_at <= change.at ? state.started_at : null,
    completed_at: finished ? state.completed_at : null,
    error: finished ? state.error : null,
    metadata: state.metadata,
  };
}
