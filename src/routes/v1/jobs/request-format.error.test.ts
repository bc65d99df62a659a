import { describe, expect, it } from 'vitest';
import { GRAPH, newClient, postJson, problemOf } from '../../../testing/gateway.ts';

/** Bodies in the format of other APIs are refused with a text that says what to send. */

const EDITOR = { last_node_id: 2, nodes: [{ id: 1, type: 'EmptyImage' }], links: [] };
const BODIES: [title: string, body: unknown, at: string, says: string][] = [
  ["ComfyUI's POST /prompt", { prompt: GRAPH, client_id: 'x', extra_data: {} }, '#/prompt', 'POST /prompt'],
  ["ComfyUI's POST /prompt as a workflow", { workflow: { prompt: GRAPH } }, '#/workflow/prompt', 'POST /prompt'],
  ["RunPod's POST /run", { input: { workflow: GRAPH } }, '#/input', 'POST /run'],
  ['worker-comfyui with images', { input: { workflow: GRAPH, images: [] } }, '#/input', '"images" as "inputs"'],
  ['a workflow by itself', GRAPH, '#', 'a bare workflow'],
  ["the editor's file by itself", EDITOR, '#', 'Export (API)'],
];

describe.each(['/v1/jobs', '/v1/jobs/dry-run'])('POST %s', (path) => {
  it.each(BODIES)('says how to send a body of %s', async (_title, body, at, says) => {
    const { call } = await newClient();
    const seen = await problemOf(await call(path, postJson(body)));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 422, code: 'request_format' });
    expect(seen.errors?.map(({ pointer }) => pointer)).toEqual([at]);
    expect(seen.detail).toContain(says);
    expect(seen.detail).toContain('"workflow"');
  });

  it.each([{ prompt: 'a cat' }, { input: 'x' }, { nodes: 1 }, {}])(
    'does not report %j as one of them',
    async (body) => {
      const { call } = await newClient();
      expect((await problemOf(await call(path, postJson(body)))).code).not.toBe('request_format');
    },
  );
});
