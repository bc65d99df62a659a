import type { JobInput } from '../../contract/new-job.ts';
import type { RunNews, RunStatus } from '../../contract/run.ts';
import type { JobState } from '../../domain/job/state.ts';
import { inputPieces } from '../../providers/gpu/worker-comfyui/input.ts';
import { withPlainNames } from '../../providers/gpu/worker-comfyui/plain-names.ts';
import { progressOf } from '../../providers/gpu/worker-comfyui/progress.ts';
import type { GpuProvider } from '../../providers/gpu/provider.ts';
import { assetKey } from '../../storage/r2/keys.ts';

/** What the gateway does itself for a worker that knows no gateway: hands it the files, and looks how it is doing. */

/** The graph and the files as the worker's input; null when a file is no longer there. At most `/run`'s 10 MB of it, as submit made sure. */
export async function inlineInput(
  bucket: R2Bucket,
  { account }: JobState,
  order: { workflow: string; inputs: JobInput[] },
): Promise<string[] | null> {
  const { workflow, nameOf } = withPlainNames(order.workflow, order.inputs);
  const images: { name: string; base64: string }[] = [];
  for (const { name, key, sha256 } of order.inputs) {
    const object = await bucket.get(key ?? assetKey(account, sha256));
    if (object === null) {
      return null;
    }
    images.push({ name: nameOf.get(name) ?? name, base64: new Uint8Array(await object.arrayBuffer()).toBase64() });
  }
  return inputPieces(workflow, images);
}

/** RunPod's status of a run and what else it says. Texts of the output pass by unread. */
export async function look(
  gpu: GpuProvider,
  endpoint: string,
  runId: string,
): Promise<{ status: RunStatus; news?: RunNews }> {
  const record = await gpu.read(endpoint, runId, () => null);
  if (record === 'missing' || record === 'unreachable') {
    return { status: record };
  }
  const { status, delay_ms, execution_ms, worker, output } = record;
  const progress = status === 'running' ? progressOf(output) : null;
  return { status, news: { delay_ms, execution_ms, worker, progress } };
}
