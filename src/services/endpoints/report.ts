import { z } from 'zod';
import { nodeClasses } from '../../contract/worker.ts';
import type { GpuProvider } from '../../providers/gpu/provider.ts';
import { runpodProvider } from '../../providers/gpu/runpod.ts';
import type { Core } from '../context.ts';
import type { Actor } from '../auth/actor.ts';
import { notFound, type CoreProblem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { catalogHash } from '../../storage/r2/catalog.ts';
import { storeCatalog } from '../worker/catalog.ts';

/** What a worker can be asked for (docs/reference/worker.md). */
export const REPORTS = ['debug', 'health'] as const;
export type ReportKind = (typeof REPORTS)[number];

/** Longest and usual wait for a report, in seconds. A cold start may take longer: ask again then, the worker stays for a while. */
export const MAX_REPORT_WAIT_S = 90;
export const REPORT_WAIT_S = 60;
/** Time between questions for the report: a person waits for it, and RunPod takes 200 a second (reference/runpod.md 2.4). */
const POLL_MS = 1_000;
/** A run that nobody took by the end of the wait is to vanish by itself, should the cancel not reach RunPod. */
const RUN_GRACE_MS = 30_000;

/**
 * Has a worker of the endpoint report on itself, as a run of its own, and waits for the report. The operator's alone: the workers of
 * an endpoint serve every account, and the report holds what ComfyUI printed last. Answers the worker's JSON as it came, texts cut
 * at 16 KiB and the whole at 1 MB. A debug report also brings the node classes of the worker's ComfyUI, which become the endpoint's
 * catalogue and are not part of the answer.
 */
export async function workerReport(
  core: Core,
  actor: Actor,
  name: string,
  kind: ReportKind,
  wait_s: number,
): Promise<Result<unknown, CoreProblem>> {
  if (actor.key !== null) {
    return fail({ code: 'insufficient_scope', detail: 'only the operator (ADMIN_TOKEN) asks workers for reports' });
  }
  const target = Object.hasOwn(core.config.endpoints, name) ? core.config.endpoints[name] : undefined;
  if (target === undefined) {
    return fail(notFound);
  }
  const gpu = runpodProvider(core.config.runpod);
  const wait_ms = wait_s * 1000;
  const life_ms = wait_ms + RUN_GRACE_MS;
  const started = await gpu.run({
    endpoint: target.runpod_id,
    input: [JSON.stringify(kind === 'debug' ? { action: kind, catalog: true } : { action: kind })],
    webhook: null,
    execution_timeout_ms: life_ms,
    ttl_ms: life_ms,
  });
  if (started.kind !== 'accepted') {
    const why = started.kind === 'refused' ? started.message : 'RunPod did not answer.';
    return fail({ code: 'no_worker_report', detail: `no worker was asked: ${why}` });
  }
  const report = await awaited(gpu, target.runpod_id, started.run_id, core.clock, core.clock() + wait_ms);
  return report.ok && kind === 'debug' ? ok(await withoutCatalog(core, name, report.value)) : report;
}

const withCatalog = z.looseObject({ catalog: z.unknown() });
const reportedCatalog = z.object({ hash: z.string(), comfyui_version: z.string().nullish(), classes: nodeClasses });

/** Stores the catalogue in a report and takes it out. One that was cut on its way has another hash, and is not stored. */
async function withoutCatalog(core: Core, endpoint: string, report: unknown): Promise<unknown> {
  const parsed = withCatalog.safeParse(report);
  if (!parsed.success) {
    return report;
  }
  const { catalog, ...rest } = parsed.data;
  const whole = reportedCatalog.safeParse(catalog);
  if (whole.success && (await catalogHash(whole.data.classes)) === whole.data.hash) {
    const { comfyui_version, classes } = whole.data;
    await storeCatalog(core, endpoint, { comfyui_version: comfyui_version ?? null, classes });
  }
  return rest;
}

/** The output of a run once it is over; canceled when that is not so by `until`. */
async function awaited(
  gpu: GpuProvider,
  endpoint: string,
  run: string,
  clock: () => number,
  until: number,
): Promise<Result<unknown, CoreProblem>> {
  for (;;) {
    const record = await gpu.read(endpoint, run, () => null);
    const status = typeof record === 'string' ? record : record.status;
    if (typeof record !== 'string' && status === 'completed' && (record.output ?? null) !== null) {
      return ok(record.output);
    }
    if (status !== 'queued' && status !== 'running' && status !== 'unreachable') {
      return fail({ code: 'no_worker_report', detail: `the worker gave no report: its run is ${status}` });
    }
    if (clock() + POLL_MS >= until) {
      await gpu.cancel(endpoint, run);
      const detail = `no worker reported in time: the run is ${status}`;
      return fail({ code: 'no_worker_report', detail, shouldRetry: true });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
