import { WORKER_STATES, type EndpointStatus } from '../../contract/endpoint.ts';
import { submittedSince, timesOf, type Times, unfinishedByEndpoint, webhookHealth } from '../../storage/d1/metrics.ts';
import type { ServiceContext } from '../context.ts';
import type { Actor } from '../auth/actor.ts';
import type { Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * A job counts as stuck when it has waited this long without starting. Cold starts take up to 7 minutes
 * (reference/runpod.md section 5).
 */
const STUCK_MS = 600_000;
/**
 * A job counts as overdue this long after its deadline, when the sweep (services/maintenance/sweep-jobs.ts) must have
 * woken it.
 */
const OVERDUE_MS = 300_000;
/** The window in which submits are counted. */
const SUBMITS_MS = 300_000;

/** One value, with the labels that identify it. */
export type Sample = { labels: Record<string, string>; value: number };
/** A Prometheus metric. A `counter` restarts at 0 when an endpoint is created again. */
export type Metric = { name: string; help: string; type: 'gauge' | 'counter'; samples: Sample[] };

/**
 * Returns the metrics for the operator. A scrape costs five D1 queries, which read one row per job that is unfinished
 * or was submitted in the last five minutes, and one call of each Endpoint object. That is cheap enough for one scrape
 * every 30 s.
 */
export async function metrics(context: ServiceContext, actor: Actor): Promise<Result<Metric[], Problem>> {
  if (actor.key !== null) {
    return fail({ code: 'insufficient_scope', detail: 'Only the operator can read the metrics. Send ADMIN_TOKEN.' });
  }
  const now = context.clock();
  const [jobs, submits, submitTimes, startTimes, webhooks, endpoints] = await Promise.all([
    unfinishedByEndpoint(context.env.DB, { stuckBefore: now - STUCK_MS, overdueBefore: now - OVERDUE_MS }),
    submittedSince(context.env.DB, now - SUBMITS_MS),
    timesOf(context.env.DB, 'submit', now - SUBMITS_MS),
    timesOf(context.env.DB, 'start', now - SUBMITS_MS),
    webhookHealth(context.env.DB),
    Promise.all(
      Object.keys(context.config.endpoints)
        .sort()
        .map((name) => statusOf(context, name)),
    ),
  ]);
  const sum = (pick: (job: (typeof jobs)[number]) => number): Sample[] => [
    { labels: {}, value: jobs.reduce((total, job) => total + pick(job), 0) },
  ];
  return ok([
    gauge(
      'jobs',
      'Unfinished jobs, by endpoint and status.',
      jobs.map(({ endpoint, status, jobs: value }) => ({ labels: { endpoint, status }, value })),
    ),
    gauge(
      'jobs_stuck',
      `Jobs submitted over ${STUCK_MS / 1000} s ago that have never started.`,
      sum((job) => job.stuck),
    ),
    gauge(
      'jobs_overdue',
      `Unfinished jobs whose deadline passed more than ${OVERDUE_MS / 1000} s ago.`,
      sum((job) => job.overdue),
    ),
    gauge(
      'jobs_submitted_recently',
      `Jobs submitted in the last ${SUBMITS_MS / 1000} s, by current status.`,
      submits.map(({ status, jobs: value }) => ({ labels: { status }, value })),
    ),
    gauge(
      'submit_seconds',
      `From a checked request to its job being stored, of jobs submitted in the last ${SUBMITS_MS / 1000} s.`,
      quantiles(submitTimes),
    ),
    gauge(
      'time_to_start_seconds',
      `From submit to the first claim, of jobs submitted in the last ${SUBMITS_MS / 1000} s that have started.`,
      quantiles(startTimes),
    ),
    gauge('webhooks_failing', 'Webhooks whose receiver rejects deliveries.', [{ labels: {}, value: webhooks.failing }]),
    gauge('webhooks_disabled', 'Disabled webhooks.', [{ labels: {}, value: webhooks.disabled }]),
    gauge('webhook_lag_seconds', 'Time since the first failed delivery of the webhook that has been failing longest.', [
      { labels: {}, value: webhooks.since === null ? 0 : Math.max(0, (now - webhooks.since) / 1000) },
    ]),
    ...endpointMetrics(endpoints),
  ]);
}

const quantiles = ({ p50_ms, p99_ms }: Times): Sample[] =>
  [
    { quantile: '0.5', ms: p50_ms },
    { quantile: '0.99', ms: p99_ms },
  ].flatMap(({ quantile, ms }) => (ms === null ? [] : [{ labels: { quantile }, value: ms / 1000 }]));

type Named = { name: string; status: EndpointStatus | null };

const statusOf = async (context: ServiceContext, name: string): Promise<Named> => ({
  name,
  status: await context.env.ENDPOINT.getByName(name)
    .status()
    .catch(() => null),
});

function endpointMetrics(endpoints: readonly Named[]): Metric[] {
  const known = endpoints.flatMap(({ name, status }) => (status === null ? [] : [{ endpoint: name, ...status }]));
  const each = (pick: (status: EndpointStatus) => number): Sample[] =>
    known.map(({ endpoint, ...status }) => ({ labels: { endpoint }, value: pick(status) }));
  const healthy = known.flatMap(({ endpoint, health }) => (health === null ? [] : [{ endpoint, health }]));
  return [
    gauge(
      'endpoint_reachable',
      'Whether RunPod answered about the endpoint (1) or not (0).',
      endpoints.map(({ name, status }) => ({
        labels: { endpoint: name },
        value: status === null || status.health === null ? 0 : 1,
      })),
    ),
    gauge(
      'breaker_state',
      'Whether runs are sent: 0 closed (all), 1 half-open (one), 2 open (none).',
      each(({ mode }) => ({ closed: 0, half_open: 1, open: 2 })[mode]),
    ),
    gauge(
      'endpoint_held',
      'Jobs held back because the circuit breaker is not closed.',
      each(({ waiting }) => waiting),
    ),
    gauge(
      'runpod_queued',
      'Runs in RunPod’s queue.',
      healthy.map(({ endpoint, health }) => ({ labels: { endpoint }, value: health.in_queue })),
    ),
    gauge(
      'runpod_running',
      'Runs on RunPod’s workers.',
      healthy.map(({ endpoint, health }) => ({ labels: { endpoint }, value: health.in_progress })),
    ),
    gauge(
      'runpod_workers',
      'Workers by state.',
      healthy.flatMap(({ endpoint, health }) =>
        WORKER_STATES.map((state) => ({ labels: { endpoint, state }, value: health.workers[state] })),
      ),
    ),
    {
      name: 'comfy_edge_runs_total',
      type: 'counter',
      help: 'Calls of RunPod’s /run. Those of the last seconds may be counted later.',
      samples: each(({ counts }) => counts.sent),
    },
    {
      name: 'comfy_edge_run_errors_total',
      type: 'counter',
      help: 'Calls of /run that failed (no answer, 429, 5xx) or were refused (401, 402, 403, 404).',
      samples: known.flatMap(({ endpoint, counts }) => [
        { labels: { endpoint, kind: 'failed' }, value: counts.failed },
        { labels: { endpoint, kind: 'refused' }, value: counts.refused },
      ]),
    },
  ];
}

const gauge = (name: string, help: string, samples: Sample[]): Metric => ({
  name: `comfy_edge_${name}`,
  type: 'gauge',
  help,
  samples,
});
