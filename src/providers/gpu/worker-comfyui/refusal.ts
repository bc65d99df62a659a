import { z } from 'zod';
import type { RunFailure } from '../../../contract/run.ts';
import { cleanMessage } from './message.ts';

/**
 * ComfyUI's refusal of a graph, as worker-comfyui 5.x tells it: its own first line, then either Python's form of ComfyUI's `node_errors`,
 * one bullet for each field of each node, or ComfyUI's whole answer as JSON. Clients get the words of it and neither of the two forms.
 */

/** Nodes of which something is said in a message; it is cut anyhow. */
const MAX_NODES_TOLD = 3;
/** Where the texts that tell a refusal begin, or what they hold. */
const REFUSAL =
  /workflow validation failed|^comfyui validation failed|\n• Node |Raw response: \{|this usually means a required model|prompt_outputs_failed_validation|invalid prompt/i;
/** ComfyUI answers 500 when a node's own check of its inputs raises. */
const BROKEN_CHECK = /error queuing workflow: 500/i;
const RAW = /^([\s\S]*?)\.? Raw response: (\{[\s\S]*)$/;
const BULLET = /^• Node (.{1,200}?) \(([a-z_]{1,40})\): (.*)$/gm;
/** A text as Python writes it. */
const QUOTED = String.raw`'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"`;
const ENTRY = new RegExp(`'type': (${QUOTED}), 'message': (${QUOTED})(?:, 'details': (${QUOTED}))?`, 'g');
const NOT_IN_LIST = /(\w{1,100}): \\?['"](.{1,300}?)\\?['"] not in /;
const MODEL_FILE = /\.(?:safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx)$/i;

const answer = z.object({
  error: z.object({
    message: z.string(),
    details: z.string().catch(''),
    extra_info: z
      .object({ node_id: z.string(), class_type: z.string().catch('') })
      .nullish()
      .catch(null),
  }),
});

type RefusedNode = { id: string; class_type: string; errors: NodeError[]; missing: string[] };
type NodeError = { message: string; details: string };

/** What the text says of a graph that ComfyUI refused; null for any other text. */
export function refusalIn(text: string): RunFailure | null {
  if (BROKEN_CHECK.test(text)) {
    return { ...refused, message: 'ComfyUI failed while it checked the graph.' };
  }
  if (!REFUSAL.test(text)) {
    return null;
  }
  const nodes = nodesIn(text);
  const [first] = nodes;
  if (first === undefined) {
    return wholeGraph(text);
  }
  const node = nodes.length === 1 ? { node: { id: first.id, class_type: first.class_type } } : {};
  const missing = nodes.flatMap((each) => each.missing);
  if (
    nodes.every((each) => each.missing.length === each.errors.length) &&
    missing.every((name) => MODEL_FILE.test(name))
  ) {
    return { ...refused, code: 'model_missing', message: cleanMessage(lacks([...new Set(missing)])), ...node };
  }
  const told = nodes.slice(0, MAX_NODES_TOLD).map(sayNode);
  const head = nodes.length === 1 ? [] : [`${nodes.length} nodes of the graph have errors.`];
  return { ...refused, message: cleanMessage([...head, ...told].join(' ')), ...node };
}

const refused = { code: 'invalid_workflow', at: 'workflow', retryable: false } as const;

/** A refusal that names no field of a node: the whole graph is wrong, or a class of it is not known. */
function wholeGraph(text: string): RunFailure {
  const [, said = text, json = ''] = RAW.exec(text) ?? [];
  const parsed = parsedAnswer(json);
  if (parsed === null) {
    const [line = ''] = said.split('\n');
    const message = /^comfyui validation failed/i.test(line) ? '' : cleanMessage(line);
    return { ...refused, message: message || 'ComfyUI refused the graph.' };
  }
  const { message, details, extra_info } = parsed.error;
  return {
    ...refused,
    message: cleanMessage(joined({ message, details })),
    ...(extra_info ? { node: { id: extra_info.node_id, class_type: extra_info.class_type } } : {}),
  };
}

function parsedAnswer(json: string): z.infer<typeof answer> | null {
  try {
    return answer.safeParse(JSON.parse(json)).data ?? null;
  } catch {
    // Cut on its way, or none.
    return null;
  }
}

function nodesIn(text: string): RefusedNode[] {
  const nodes = new Map<string, RefusedNode>();
  for (const [, id = '', field, value = ''] of text.matchAll(BULLET)) {
    const node = nodes.get(id) ?? { id, class_type: '', errors: [], missing: [] };
    nodes.set(id, node);
    if (field === 'class_type') {
      node.class_type = value.trim().slice(0, 200);
    } else if (field === 'errors') {
      for (const [, type = '', message = '', details = ''] of value.matchAll(ENTRY)) {
        add(node, unquoted(type), { message: unquoted(message), details: unquoted(details) }, value);
      }
    }
  }
  return [...nodes.values()].filter(({ errors }) => errors.length > 0);
}

/** ComfyUI's details of a value that is not in a list repeat the whole list, whose end may be cut off: only the value is of use. */
function add(node: RefusedNode, type: string, error: NodeError, text: string): void {
  const [, input, value] = type === 'value_not_in_list' ? (NOT_IN_LIST.exec(error.details || text) ?? []) : [];
  if (input === undefined || value === undefined) {
    node.errors.push(error);
    return;
  }
  node.errors.push({ ...error, details: `${input}: '${value}'` });
  node.missing.push(value);
}

const sayNode = ({ id, class_type, errors }: RefusedNode): string =>
  `Node ${id}${class_type === '' ? '' : ` (${class_type})`}: ${errors.map(joined).join('; ')}.`;

const joined = ({ message, details }: NodeError): string =>
  details === '' || details === message ? message : `${message}${message.endsWith('.') ? '' : ':'} ${details}`;

const lacks = (models: readonly string[]): string =>
  models.length === 1
    ? `The worker lacks the model ${models[0]}.`
    : `The worker lacks ${models.length} models: ${models.join(', ')}.`;

const unquoted = (quoted: string): string =>
  quoted.slice(1, -1).replaceAll(/\\(.)/g, (_escape, char: string) => (char === 'n' ? '\n' : char));
