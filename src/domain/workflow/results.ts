import type { Warning } from '../../contract/job.ts';
import type { Graph } from '../../contract/new-job.ts';
import { quote } from '../problems.ts';
import { isLink, nodeName, nodeOf } from './graph.ts';

/**
 * Finds the nodes of a graph that give results, and the nodes that these depend on. ComfyUI runs and checks only those:
 * a node that no output depends on may be broken.
 */

/** Facts about a node class: whether it is an output node, and its required inputs. */
export type NodeFacts = { output: boolean; required: readonly string[] };
/**
 * Facts that an endpoint's workers reported; null when they reported none. A class without an entry is not an output
 * node.
 */
export type Facts = ReadonlyMap<string, NodeFacts> | null;

/** Names of classes that probably save or show something. */
const SEEMS_OUTPUT =
  /save|preview|show|display|view|output|export|upload|send|write|webhook|websocket|combine|compar|print|log|debug/i;
/** Classes whose files are previews, which ComfyUI writes to its temp folder. */
const PREVIEWS = /^preview(?:image|audio|mask|latent|bridge|video)|maskpreview|imagepreview|image ?compar/i;

/** The most warnings stored with a job; its record must stay small. */
const MAX_WARNINGS = 20;

/**
 * The output nodes. Without facts: the nodes whose class name suggests an output, else the nodes that no other node
 * uses.
 */
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

/** The output nodes and all nodes that they depend on. */
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
 * Warnings about a graph that may run nevertheless, at most `MAX_WARNINGS`. `tempOutputs`: whether previews count as
 * outputs.
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
    warnings.push(about('no_output_node', `${what}. ComfyUI rejects a workflow without an output node.`));
  } else if (!tempOutputs && outputs.every((id) => PREVIEWS.test(nodeOf(graph, id)?.class_type ?? ''))) {
    const advice = 'Add a node that saves, or set options.temp_outputs.';
    warnings.push(about('only_previews', `All outputs are previews, which are not outputs of a job. ${advice}`));
  }
  for (const id of Object.keys(graph)) {
    for (const { input, from } of linksOf(graph, id)) {
      if (!Object.hasOwn(graph, from) && !needed.has(id)) {
        const detail = `Node ${nodeName(graph, id)} takes ${quote(input)} from node ${quote(from)}, which is not in the workflow. The node does not run, because no output depends on it.`;
        warnings.push({ code: 'dangling_link', node: id, input, detail });
      }
    }
    const node = needed.has(id) ? nodeOf(graph, id) : undefined;
    for (const input of (node && facts?.get(node.class_type)?.required) ?? []) {
      if (node !== undefined && !Object.hasOwn(node.inputs, input)) {
        const detail = `Node ${nodeName(graph, id)} lacks its required input ${quote(input)}. ComfyUI will reject it.`;
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
