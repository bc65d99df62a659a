import type { Asset } from '../../contract/assets.ts';
import type { AttemptView, JobView, Output, Progress, Resolved, Status, TerminalStatus } from '../../contract/job.ts';
import { iso, isoOrNull } from '../../lib/time.ts';
import type { SignedUrls } from '../../services/jobs/signed-urls.ts';
import type { ApiAsset, ApiJob, ApiJobPending, ApiJobResult, ApiJobSummary, ApiOutput } from './schemas.ts';

/** Renders the views of services for v1: times as ISO 8601, links as absolute URLs. */

/** The URL of a job. */
const jobUrl = (publicUrl: string, id: string): string => `${publicUrl}/v1/jobs/${id}`;

/** A job that has not finished. */
export type PendingJob = JobView & { status: Exclude<Status, TerminalStatus> };

type Listed = Pick<
  JobView,
  'id' | 'endpoint' | 'status' | 'created_at' | 'started_at' | 'completed_at' | 'error' | 'metadata'
>;

export function renderJobSummary(job: Listed, publicUrl: string): ApiJobSummary {
  const self = jobUrl(publicUrl, job.id);
  return {
    id: job.id,
    object: 'job',
    status: job.status,
    endpoint: job.endpoint,
    created_at: iso(job.created_at),
    started_at: isoOrNull(job.started_at),
    completed_at: isoOrNull(job.completed_at),
    error: job.error,
    metadata: job.metadata,
    urls: { self, events: `${self}/events`, cancel: `${self}/cancel`, result: `${self}/result` },
  };
}

/** `links`: the signed URLs of its files, where the response has them. */
export function renderJob(job: JobView, publicUrl: string, links?: SignedUrls): ApiJob {
  return {
    ...renderJobSummary(job, publicUrl),
    stage: job.stage,
    deadline: iso(job.deadline),
    start_deadline: isoOrNull(job.start_deadline),
    expires_at: iso(job.expires_at),
    queue_position: job.queue_position,
    progress: job.progress === null ? null : renderProgress(job.progress),
    outputs: job.outputs.map((output) => renderOutput(output, job.id, publicUrl, links)),
    attempts: job.attempts.map(renderAttempt),
    resolved: renderResolved(job.resolved),
    usage: job.usage,
    metrics: renderMetrics(job.metrics),
    last_event: job.last_event,
    ...(job.truncated === undefined ? {} : { truncated: job.truncated }),
  };
}

/** The decisions about a job's graph. */
export const renderResolved = (resolved: Resolved): ApiJob['resolved'] => ({
  ...resolved,
  warnings: resolved.warnings ?? [],
});

/** The result of a job that succeeded. */
export function renderResult(job: JobView, publicUrl: string, links: SignedUrls): ApiJobResult {
  const { id, completed_at, outputs, resolved, usage, metadata, urls } = renderJob(job, publicUrl, links);
  return { object: 'job_result', id, status: 'succeeded', completed_at, outputs, resolved, usage, metadata, urls };
}

/** A job without a result yet. */
export function renderPending(job: PendingJob, publicUrl: string): ApiJobPending {
  const { id, stage, queue_position, progress, urls } = renderJob(job, publicUrl);
  return { object: 'job_pending', id, status: job.status, stage, queue_position, progress, urls };
}

/** An output with its links. Each segment of its name is encoded separately, so slashes stay slashes. */
export function renderOutput(output: Output, job: string, publicUrl: string, links?: SignedUrls): ApiOutput {
  const { name, node_id, class_type, type, content_type, size_bytes, sha256, temp, text } = output;
  const path = name.toWellFormed().split('/').map(encodeURIComponent).join('/');
  const link = links?.get(name);
  return {
    name,
    node_id,
    class_type,
    type,
    content_type,
    size_bytes,
    sha256,
    temp,
    ...(text === undefined ? {} : { text }),
    url: `${jobUrl(publicUrl, job)}/outputs/${path}`,
    ...(links === undefined
      ? {}
      : { signed_url: link?.url ?? null, url_expires_at: isoOrNull(link?.expires_at ?? null) }),
  };
}

const renderProgress = (progress: Progress): ApiJob['progress'] => ({
  value: progress.value,
  nodes_done: progress.nodes_done,
  nodes_total: progress.nodes_total,
  current_node: progress.current_node ?? null,
  current_node_class: progress.current_node_class ?? null,
  step: progress.step ?? null,
  steps: progress.steps ?? null,
});

const renderMetrics = ({
  queue_ms,
  cold_start_ms,
  execution_ms,
  upload_ms,
  total_ms,
}: JobView['metrics']): ApiJob['metrics'] => ({ queue_ms, cold_start_ms, execution_ms, upload_ms, total_ms });

const renderAttempt = (attempt: AttemptView): ApiJob['attempts'][number] => ({
  number: attempt.number,
  endpoint: attempt.endpoint,
  status: attempt.status,
  created_at: iso(attempt.created_at),
  claimed_at: isoOrNull(attempt.claimed_at),
  ended_at: isoOrNull(attempt.ended_at),
  worker: attempt.worker,
  environment: attempt.environment,
  upstream_id: attempt.upstream_id,
  error: attempt.error,
});

/** An asset. Its id is its hash, so the same file always has the same id. */
export const renderAsset = (asset: Asset): ApiAsset => ({
  id: `sha256:${asset.sha256}`,
  object: 'asset',
  size_bytes: asset.size_bytes,
  content_type: asset.content_type,
  sha256: asset.sha256,
  created_at: iso(asset.created_at),
  expires_at: iso(asset.expires_at),
});
