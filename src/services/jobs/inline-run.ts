import type { Endpoint } from '../../config/schema.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Issue } from '../../domain/problems.ts';
import { imageBytes, MAX_RUN_BODY_BYTES, roomForImages } from '../../providers/gpu/worker-comfyui/input.ts';

/**
 * Checks the total size of a job for a worker that does not call the gateway: its graph and files are sent in one
 * request to RunPod.
 */
export function inlineIssues(endpoint: Endpoint | undefined, workflow: string, inputs: readonly JobInput[]): Issue[] {
  if (endpoint?.worker !== 'worker-comfyui') {
    return [];
  }
  const over = inputs.reduce((sum, input) => sum + imageBytes(input), 0) - roomForImages(workflow);
  if (over <= 0) {
    return [];
  }
  return [
    {
      pointer: inputs.length === 0 ? '#/workflow' : '#/inputs',
      code: 'run_too_large',
      detail:
        `The workflow and its files are ${over} bytes over the ${MAX_RUN_BODY_BYTES} bytes that RunPod accepts in one request, ` +
        'and worker-comfyui gets its files only there. Make the files smaller, or use an endpoint that runs worker-gpu.',
    },
  ];
}
