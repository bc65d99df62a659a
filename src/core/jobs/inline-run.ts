import type { Endpoint } from '../../config.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Fault } from '../problems.ts';
import { quote } from '../problems.ts';
import { imageBytes, MAX_RUN_BODY_BYTES, roomForImages, takesInput } from '../worker-comfyui/input.ts';

/**
 * What is wrong with a job for an endpoint whose worker knows no gateway: everything travels in one request to RunPod there.
 * @param places where each input is in the body, by its name
 */
export function inlineFaults(
  endpoint: Endpoint | undefined,
  workflow: string,
  inputs: readonly JobInput[],
  places: ReadonlyMap<string, string>,
): Fault[] {
  if (endpoint?.worker !== 'worker-comfyui') {
    return [];
  }
  const faults = inputs
    .filter(({ content_type }) => !takesInput(content_type))
    .map(({ name, content_type }): Fault => ({
      pointer: places.get(name) ?? '#/inputs',
      code: 'input_not_taken',
      detail: `${quote(name)} is ${content_type}; this endpoint runs worker-comfyui, which takes images only. Use an endpoint that runs worker-gpu`,
    }));
  const over = inputs.reduce((sum, input) => sum + imageBytes(input), 0) - roomForImages(workflow);
  if (over > 0) {
    faults.push({
      pointer: inputs.length === 0 ? '#/workflow' : '#/inputs',
      code: 'run_too_large',
      detail:
        `the workflow and its files, in base64, are ${over} bytes over the ${MAX_RUN_BODY_BYTES} that RunPod takes in one request; ` +
        'this endpoint runs worker-comfyui, which gets them no other way. Make the files smaller, or use an endpoint that runs worker-gpu',
    });
  }
  return faults;
}
