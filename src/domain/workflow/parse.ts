import type { Graph } from '../../contract/new-job.ts';
import { pointer, quote, type Issue } from '../problems.ts';
import { fail, ok, type Result } from '../result.ts';

/**
 * Parses unknown JSON into a graph in ComfyUI's API format: `{node id: {class_type, inputs, _meta?}}`.
 * ComfyUI ignores unknown fields of a node (`is_changed` and others appear in real exports), so they are dropped here.
 */

const EXPORT_ADVICE =
  "The workflow is in the ComfyUI editor's format. Export it in API format instead (menu Workflow → Export (API)).";
const MAX_ID_CHARS = 256;
const MAX_CLASS_CHARS = 300;

export function parseWorkflow(value: unknown, maxNodes: number, base: readonly string[]): Result<Graph, Issue[]> {
  const here = pointer(base);
  if (!isRecord(value)) {
    return fail([
      { pointer: here, code: 'invalid_type', detail: 'The workflow must be an object of nodes (API format).' },
    ]);
  }
  if (isEditorFormat(value)) {
    return fail([{ pointer: here, code: 'workflow_format_ui', detail: EXPORT_ADVICE }]);
  }
  const entries = Object.entries(value);
  if (entries.length === 0) {
    return fail([{ pointer: here, code: 'workflow_empty', detail: 'The workflow has no nodes.' }]);
  }
  if (entries.length > maxNodes) {
    const detail = `The workflow has ${entries.length} nodes. The maximum is ${maxNodes}.`;
    return fail([{ pointer: here, code: 'workflow_too_large', detail }]);
  }
  const issues: Issue[] = [];
  const nodes: [string, Graph[string]][] = [];
  for (const [id, node] of entries) {
    const parsed = parseNode(id, node, [...base, id]);
    if (parsed.ok) {
      nodes.push([id, parsed.value]);
    } else {
      issues.push(...parsed.problem);
    }
  }
  return issues.length > 0 ? fail(issues) : ok(Object.fromEntries(nodes));
}

function parseNode(id: string, node: unknown, path: readonly string[]): Result<Graph[string], Issue[]> {
  const invalid = (at: readonly string[], detail: string): Issue => ({
    pointer: pointer(at),
    code: 'invalid_node',
    detail,
  });
  if (id === '' || id.length > MAX_ID_CHARS) {
    return fail([invalid(path, `A node id must have 1 to ${MAX_ID_CHARS} characters.`)]);
  }
  if (!isRecord(node)) {
    return fail([invalid(path, `Node ${quote(id)} must be an object with class_type and inputs.`)]);
  }
  const issues: Issue[] = [];
  const { class_type, inputs, _meta } = node;
  if (typeof class_type !== 'string' || class_type === '' || class_type.length > MAX_CLASS_CHARS) {
    issues.push(invalid([...path, 'class_type'], `Node ${quote(id)} needs a class_type: the name of a node class.`));
  }
  if (!isRecord(inputs)) {
    issues.push(invalid([...path, 'inputs'], `Node ${quote(id)} needs inputs: an object, which may be empty.`));
  }
  if (typeof class_type !== 'string' || !isRecord(inputs) || issues.length > 0) {
    return fail(issues);
  }
  return ok(_meta === undefined ? { class_type, inputs } : { class_type, inputs, _meta });
}

/** The editor saves one list of nodes and one of links. The API format has one object per node. */
const isEditorFormat = (value: Record<string, unknown>): boolean =>
  Array.isArray(value['nodes']) || Array.isArray(value['links']) || 'last_node_id' in value;

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
