import { z } from 'zod';
import { nodeClasses } from '../../contract/worker.ts';
import { runpodClient, type RunpodClient } from '../../providers/gpu/runpod/client.ts';
import type { ServiceContext } from '../context.ts';
import type { Actor } from '../auth/actor.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { catalogHash } from '../../storage/r2/catalog.ts';
import { storeCatalog } from '../worker/catalog.ts';

/** The reports that a worker can make (docs/reference/worker.md). */
export const REPORTS = ['debug', 'health'] as const;
export type ReportKind = (typeof REPORTS)[number];

/**
 * The maximum and default wait for a report, in seconds. A cold start may take longer; the next request finds the
 * worker running.
 */
export const MAX_REPORT_WAIT_S = 90;
export const REPORT_WAIT_S = 60;
/**
 * Time between two polls. A person waits for the report, and RunPod accepts 200 polls a second (reference/runpod.md
 * 2.4).
 */
const POLL_MS = 1_000;
/** RunPod drops a run that no worker has taken this long after the wait, in case the cancel does not reach it. */
const RUN_GRACE_MS = 30_000;

/**
 * Asks a worker of the endpoint for a report, in a separate run, and waits for it. Only the operator may call this:
 * workers serve all accounts, and the report contains ComfyUI's last output. Returns the worker's JSON, with texts cut
 * at 16 KiB and 1 MB in total. A debug report also contains the node classes of the worker's ComfyUI. They become the
 * endpoint's catalogue and are not returned.
 */
export async function workerReport(
  context: ServiceContext,
  actor: Actor,
  name: string,
  kind: ReportKind,
  wait_s: number,
): Promise<Result<unknown, Problem>> {
  if (actor.key !== null) {
    return fail({ code: 'insufficient_scope', detail: 'Only the operator can ask for a report. Send ADMIN_TOKEN.' });
  }
  const target = Object.hasOwn(context.config.endpoints, name) ? context.config.endpoints[name] : undefined;
  if (target === undefined) {
    return fail(notFound);
  }
  const runpod = runpodClient(context.config.runpod);
  const wait_ms = wait_s * 1000;
  const life_ms = wait_ms + RUN_GRACE_MS;
  const started = await runpod.run({
    endpoint: target.runpod_id,
    input: [JSON.stringify(kind === 'debug' ? { action: kind, catalog: true } : { action: kind })],
    webhook: null,
    execution_timeout_ms: life_ms,
    ttl_ms: life_ms,
  });
  if (started.kind !== 'accepted') {
    const why = started.kind === 'refused' ? started.message : 'RunPod did not answer.';
    return fail({ code: 'no_worker_report', detail: `No worker was asked: ${why}` });
  }
  const report = await waitForRun(runpod, target.runpod_id, started.run_id, context.clock, context.clock() + wait_ms);
  return report.ok && kind === 'debug' ? ok(await withoutCatalog(context, name, report.value)) : report;
}

const withCatalog = z.looseObject({ catalog: z.unknown() });
const reportedCatalog = z.object({ hash: z.string(), comfyui_version: z.string().nullish(), classes: nodeClasses });

/**
 * Removes the catalogue from a report and stores it. A catalogue that was cut does not match its hash and is not
 * stored.
 */
async function withoutCatalog(context: ServiceContext, endpoint: string, report: unknown): Promise<unknown> {
  const parsed = withCatalog.safeParse(report);
  if (!parsed.success) {
    return report;
  }
  const { catalog, ...rest } = parsed.data;
  const whole = reportedCatalog.safeParse(catalog);
  if (whole.success && (await catalogHash(whole.data.classes)) === whole.data.hash) {
    const { comfyui_version, classes } = whole.data;
    await storeCatalog(context, endpoint, { comfyui_version: comfyui_version ?? null, classes });
  }
  return rest;
}

/** Returns the output of a run when it has finished. Cancels the run when it has not finished by `until`. */
async function waitForRun(
  runpod: RunpodClient,
  endpoint: string,
  run: string,
  clock: () => number,
  until: number,
): Promise<Result<unknown, Problem>> {
  for (;;) {
    const record = await runpod.read(endpoint, run, () => null);
    const status = typeof record === 'string' ? record : record.status;
    if (typeof record !== 'string' && status === 'completed' && (record.output ?? null) !== null) {
      return ok(record.output);
    }
    if (status !== 'queued' && status !== 'running' && status !== 'unreachable') {
      return fail({ code: 'no_worker_report', detail: `The worker sent no report: its run is ${status}.` });
    }
    if (clock() + POLL_MS >= until) {
      await runpod.cancel(endpoint, run);
      const detail = `No worker sent a report in time: the run is ${status}.`;
      return fail({ code: 'no_worker_report', detail });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
