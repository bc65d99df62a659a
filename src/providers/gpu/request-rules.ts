import type { WorkerKind } from '../../contract/run.ts';
import type { RequestRules } from './provider.ts';
import { workerComfyuiRules } from './worker-comfyui/request-rules.ts';

/** worker-gpu downloads the graph and the files itself, and supports every valid file name. */
const workerGpuRules: RequestRules = {
  inputNames: (names) => new Map(names.map((name) => [name, name])),
  runIssues: () => [],
};

const RULES: Record<WorkerKind, RequestRules> = { 'worker-gpu': workerGpuRules, 'worker-comfyui': workerComfyuiRules };

/**
 * Returns the rules for jobs on endpoints with this kind of worker; those of worker-gpu where the endpoint does not
 * exist.
 */
export const requestRules = (worker: WorkerKind | undefined): RequestRules => RULES[worker ?? 'worker-gpu'];
