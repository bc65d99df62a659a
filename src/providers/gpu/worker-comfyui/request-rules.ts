import type { JobInput } from '../../../contract/new-job.ts';
import type { Issue } from '../../../domain/problems.ts';
import type { RequestRules } from '../provider.ts';
import { flatNames } from './flat-names.ts';
import { imageBytes, MAX_RUN_BODY_BYTES, roomForImages } from './input.ts';

/** The worker does not call the gateway, so the graph and the files of a job are sent in one request to RunPod. */
export const workerComfyuiRules: RequestRules = { inputNames: flatNames, runIssues };

function runIssues(workflow: string, inputs: readonly JobInput[]): Issue[] {
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
