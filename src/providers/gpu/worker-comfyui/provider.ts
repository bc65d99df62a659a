import { RUN_GRACE_MS } from '../../../domain/job/effect-relevance.ts';
import { assetKey } from '../../../storage/r2/keys.ts';
import type { GpuProvider, ProviderParts, RunReport, RunRequest } from '../provider.ts';
import { runpodClient, type RunpodClient } from '../runpod/client.ts';
import { webhookUrl } from '../runpod/request.ts';
import { inputPieces } from './input.ts';
import { withPlainNames } from './plain-names.ts';
import { progressOf } from './progress.ts';
import { moveResult } from './result.ts';

/**
 * Provider for RunPod endpoints with the public worker-comfyui, or another worker that does not call the gateway
 * (docs/decisions/0036). The graph and the files are sent in the run's input, progress comes only from RunPod's status,
 * and the outputs are in RunPod's record of the run.
 */
export function workerComfyuiProvider({ config, bucket, clock }: ProviderParts): GpuProvider {
  const client = runpodClient(config.runpod);
  return {
    async submit(run) {
      const { endpoint, deadline, now, confirm } = run;
      const input = await inlineInput(bucket, run);
      if (input === null) {
        return { kind: 'input_missing' };
      }
      const webhook = await webhookUrl(run, config);
      if (!confirm()) {
        return { kind: 'withdrawn' };
      }
      const left_ms = deadline - now;
      // The worker does not know the deadline, so RunPod's limits end the run.
      return client.run({ endpoint, input, webhook, execution_timeout_ms: left_ms, ttl_ms: left_ms + RUN_GRACE_MS });
    },

    status: ({ endpoint, run_id }) => runReport(client, endpoint, run_id),

    result: (run) => moveResult({ ...run, client, bucket, clock, limits: config.limits, publicUrl: config.publicUrl }),

    cancel: ({ endpoint, run_id }) => client.cancel(endpoint, run_id),
  };
}

/**
 * Returns the graph and the files as the worker's input; null if a file is missing. Submit has checked that it fits
 * into the 10 MB of `/run`.
 */
async function inlineInput(bucket: R2Bucket, { account, spec }: RunRequest): Promise<string[] | null> {
  const { workflow: sent, inputs } = spec();
  const { workflow, nameOf } = withPlainNames(sent, inputs);
  const images: { name: string; base64: string }[] = [];
  for (const { name, key, sha256 } of inputs) {
    const object = await bucket.get(key ?? assetKey(account, sha256));
    if (object === null) {
      return null;
    }
    images.push({ name: nameOf.get(name) ?? name, base64: new Uint8Array(await object.arrayBuffer()).toBase64() });
  }
  return inputPieces(workflow, images);
}

/** Reads RunPod's status and details of a run. */
async function runReport(client: RunpodClient, endpoint: string, runId: string): Promise<RunReport> {
  const record = await client.read(endpoint, runId, () => null);
  if (record === 'missing' || record === 'unreachable') {
    return { status: record };
  }
  const { status, delay_ms, execution_ms, worker, output } = record;
  const progress = status === 'running' ? progressOf(output) : null;
  const info = worker ? { id: worker, version: 'worker-comfyui' } : null;
  return { status, news: { delay_ms, execution_ms, worker: info, progress } };
}
