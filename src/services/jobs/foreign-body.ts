import type { Issue } from '../../domain/problems.ts';
import { isRecord } from '../../domain/workflow/parse.ts';

/** Recognizes bodies of other APIs, so that the error says how to send them here. */

const SAMPLE = 3;

/** Whether a value looks like a graph in API format, judged by its first nodes. */
const isGraph = (value: unknown): value is Record<string, unknown> => {
  const nodes = isRecord(value) ? Object.values(value).slice(0, SAMPLE) : [];
  return nodes.length > 0 && nodes.every((node) => isRecord(node) && typeof node['class_type'] === 'string');
};

const isEditorGraph = (value: Record<string, unknown>): boolean =>
  Array.isArray(value['nodes']) && (Array.isArray(value['links']) || 'last_node_id' in value);

const issue = (pointer: string, detail: string): Issue => ({ pointer, code: 'request_format', detail });

/** Returns the issue of a body that belongs to another API; null for any other body. */
export function foreignBody(body: unknown): Issue | null {
  if (!isRecord(body)) {
    return null;
  }
  const { workflow, prompt, input } = body;
  if (workflow !== undefined) {
    return isRecord(workflow) && isGraph(workflow['prompt'])
      ? issue(
          '#/workflow/prompt',
          'This is a body for ComfyUI\'s POST /prompt. Send the value of "prompt" as "workflow": {"workflow": {…}}.',
        )
      : null;
  }
  if (isGraph(prompt)) {
    return issue(
      '#/prompt',
      'This is a body for ComfyUI\'s POST /prompt. Send only its "prompt", as "workflow": {"workflow": {…}}.',
    );
  }
  if (isRecord(input)) {
    const images = input['images'] === undefined ? '' : ', its "images" as "inputs" ({"name", "data": "base64"})';
    return issue(
      '#/input',
      `This is a body for RunPod's POST /run. Send the value of "input" as the body: its "workflow"${images}.`,
    );
  }
  if (isGraph(body)) {
    return issue('#', 'This is a bare workflow. Send it as {"workflow": {…}}.');
  }
  return isEditorGraph(body)
    ? issue(
        '#',
        'This workflow is in the editor\'s format. Export it with Workflow → Export (API), and send it as {"workflow": {…}}.',
      )
    : null;
}
