import type { Warning } from '../../contract/job.ts';
import type { Graph } from '../../contract/new-job.ts';
import { quote } from '../problems.ts';
import { isLink, nodeName, nodeOf } from './graph.ts';

/**
 * Which nodes of a graph give results, and what those need. ComfyUI runs its output nodes and what they need, and looks at nothing
 * else: a node that no output needs may be broken.
 */

/** What is known of a node class: whether ComfyUI runs it by itself, and which inputs it must have. */
export type NodeFacts = { output: boolean; required: readonly string[] };
/** What an endpoint's workers said of its classes; null where they said nothing. A class without an entry is no output node. */
export type Facts = ReadonlyMap<string, NodeFacts> | null;

/** Classes that save or show something, as far as a name tells. */
const SEEMS_OUTPUT =
  /save|preview|show|display|view|output|export|upload|send|write|webhook|websocket|combine|compar|print|log|debug/i;
/** Classes whose files are previews, which ComfyUI writes to its temp folder. */
const PREVIEWS = /^preview(?:image|audio|mask|latent|bridge|video)|maskpreview|imagepreview|image ?compar/i;

/** Warnings that a job carries; its record must stay small. */
const MAX_WARNINGS = 20;

/** The output nodes. Where no facts are known: those that seem to be some by their class; else all that nothing builds on. */
function outputNodes(graph: Graph, facts: Facts): string[] {
  const ids = Object.keys(graph);
  const classOf = (id: string): string => nodeOf(graph, id)?.class_type ?? '';
  if (facts !== null) {
    return ids.filter((id) => facts.get(classOf(id))?.output === true);
  }
  const seeming = ids.filter((id) => SEEMS_OUTPUT.test(classOf(id)));
  const used = new Set(ids.flatMap((id) => linksOf(graph, id).map(({ from }) => from)));
  return seeming.length > 0 ? seeming : ids.filter((id) => !used.has(id));
}

/** The nodes that some output needs, the output nodes themselves among them. */
export function neededNodes(graph: Graph, facts: Facts): Set<string> {
  const needed = new Set<string>();
  const todo = outputNodes(graph, facts);
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    if (!needed.has(id) && Object.hasOwn(graph, id)) {
      needed.add(id);
      todo.push(...linksOf(graph, id).map(({ from }) => from));
    }
  }
  return needed;
}

/**
 * What is odd about a graph that may run. `tempOutputs`: whether previews are results. Beyond `MAX_WARNINGS` none is listed.
 */
export function warningsOf(graph: Graph, facts: Facts, tempOutputs: boolean): Warning[] {
  const outputs = outputNodes(graph, facts);
  const needed = neededNodes(graph, facts);
  const about = (code: Warning['code'], detail: string): Warning => ({ code, node: null, input: null, detail });
  const warnings: Warning[] = [];
  if (
    facts === null
      ? !outputs.some((id) => SEEMS_OUTPUT.test(nodeOf(graph, id)?.class_type ?? ''))
      : outputs.length === 0
  ) {
    const what =
      facts === null ? 'No node seems to save or show a result' : 'No node of the workflow is an output node';
    warnings.push(about('no_output_node', `${what}. ComfyUI refuses a workflow without an output node.`));
  } else if (!tempOutputs && outputs.every((id) => PREVIEWS.test(nodeOf(graph, id)?.class_type ?? ''))) {
    const advice = 'Add a node that saves, or set options.temp_outputs.';
    warnings.push(about('only_previews', `All outputs are previews, which are no results of a job. ${advice}`));
  }
  for (const id of Object.keys(graph)) {
    for (const { input, from } of linksOf(graph, id)) {
      if (!Object.hasOwn(graph, from) && !needed.has(id)) {
        const detail = `Node ${nodeName(graph, id)} takes ${quote(input)} from node ${quote(from)}, which is not in the workflow. It does not run, since no output needs it.`;
        warnings.push({ code: 'dangling_link', node: id, input, detail });
      }
    }
    const node = needed.has(id) ? nodeOf(graph, id) : undefined;
    for (const input of (node && facts?.get(node.class_type)?.required) ?? []) {
      if (node !== undefined && !Object.hasOwn(node.inputs, input)) {
        const detail = `Node ${nodeName(graph, id)} lacks its required input ${quote(input)}. ComfyUI refuses it.`;
        warnings.push({ code: 'input_missing', node: id, input, detail });
      }
    }
  }
  return warnings.slice(0, MAX_WARNINGS);
}

const linksOf = (graph: Graph, id: string): { input: string; from: string }[] =>
  Object.entries(nodeOf(graph, id)?.inputs ?? {}).flatMap(([input, value]) =>
    isLink(value) ? [{ input, from: value[0] }] : [],
  );
