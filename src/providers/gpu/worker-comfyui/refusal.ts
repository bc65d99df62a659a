import { z } from 'zod';
import type { RunFailure } from '../../../contract/run.ts';
import { cleanMessage } from './message.ts';

/**
 * Reads the text in which worker-comfyui 5.x reports that ComfyUI rejected a graph. After the first line comes either
 * ComfyUI's `node_errors` as Python prints it, with one bullet for each field of each node, or ComfyUI's whole response
 * as JSON. Clients get a readable message instead.
 */

/** The most nodes that a message describes. */
const MAX_NODES_IN_MESSAGE = 3;
/** Matches the texts that report a rejected graph. */
const REFUSAL =
  /workflow validation failed|^comfyui validation failed|\n• Node |Raw response: \{|this usually means a required model|prompt_outputs_failed_validation|invalid prompt/i;
/** ComfyUI returns 500 when a node raises while it validates its inputs. */
const BROKEN_CHECK = /error queuing workflow: 500/i;
const RAW = /^([\s\S]*?)\.? Raw response: (\{[\s\S]*)$/;
const BULLET = /^• Node (.{1,200}?) \(([a-z_]{1,40})\): (.*)$/gm;
/** A string literal of Python. */
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

/** Returns the failure that a text reports of a rejected graph; null for any other text. */
export function refusalIn(text: string): RunFailure | null {
  if (BROKEN_CHECK.test(text)) {
    return { ...refused, message: 'ComfyUI failed while it validated the graph.' };
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
    return {
      ...refused,
      code: 'model_missing',
      message: cleanMessage(missingModelsText([...new Set(missing)])),
      ...node,
    };
  }
  const described = nodes.slice(0, MAX_NODES_IN_MESSAGE).map(describeNode);
  const head = nodes.length === 1 ? [] : [`${nodes.length} nodes of the graph have errors.`];
  return { ...refused, message: cleanMessage([...head, ...described].join(' ')), ...node };
}

const refused = { code: 'invalid_workflow', at: 'workflow', retryable: false } as const;

/** Reads a text that names no field of a node: the whole graph is invalid, or one of its node classes is unknown. */
function wholeGraph(text: string): RunFailure {
  const [, firstPart = text, json = ''] = RAW.exec(text) ?? [];
  const parsed = parsedAnswer(json);
  if (parsed === null) {
    const [line = ''] = firstPart.split('\n');
    const message = /^comfyui validation failed/i.test(line) ? '' : cleanMessage(line);
    return { ...refused, message: message || 'ComfyUI rejected the graph.' };
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
    // The JSON was cut, or there is none.
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
        addError(node, unquoted(type), { message: unquoted(message), details: unquoted(details) }, value);
      }
    }
  }
  return [...nodes.values()].filter(({ errors }) => errors.length > 0);
}

/** For a value that is not in a list, ComfyUI's details repeat the whole list, often cut. Only the value is kept. */
function addError(node: RefusedNode, type: string, error: NodeError, text: string): void {
  const [, input, value] = type === 'value_not_in_list' ? (NOT_IN_LIST.exec(error.details || text) ?? []) : [];
  if (input === undefined || value === undefined) {
    node.errors.push(error);
    return;
  }
  node.errors.push({ ...error, details: `${input}: '${value}'` });
  node.missing.push(value);
}

const describeNode = ({ id, class_type, errors }: RefusedNode): string =>
  `Node ${id}${class_type === '' ? '' : ` (${class_type})`}: ${errors.map(joined).join('; ')}.`;

const joined = ({ message, details }: NodeError): string =>
  details === '' || details === message ? message : `${message}${message.endsWith('.') ? '' : ':'} ${details}`;

const missingModelsText = (models: readonly string[]): string =>
  models.length === 1
    ? `The worker lacks the model ${models[0]}.`
    : `The worker lacks ${models.length} models: ${models.join(', ')}.`;

const unquoted = (quoted: string): string =>
  quoted.slice(1, -1).replaceAll(/\\(.)/g, (_escape, char: string) => (char === 'n' ? '\n' : char));
