import type { WorkerKind } from '../../contract/run.ts';
import type { GpuProvider, ProviderParts } from './provider.ts';
import { runpodProvider } from './runpod/provider.ts';
import { workerComfyuiProvider } from './worker-comfyui/provider.ts';

const PROVIDERS: Record<WorkerKind, (parts: ProviderParts) => GpuProvider> = {
  'worker-gpu': runpodProvider,
  'worker-comfyui': workerComfyuiProvider,
};

/** Returns the provider for endpoints with this kind of worker. */
export const gpuProvider = (worker: WorkerKind, parts: ProviderParts): GpuProvider => PROVIDERS[worker](parts);
