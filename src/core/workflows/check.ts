import type { Limits } from '../../config.ts';
import type { Graph } from '../../contract/new-job.ts';
import { jsonText } from '../json.ts';
import { pointer, quote, type Fault } from '../problems.ts';

/** Rules every graph must obey before a GPU is asked to run it. Pure; what a class accepts is ComfyUI's to judge. */
export function checkGraph(graph: Graph, limits: Limits, base: readonly string[]): Fault[] {
  const size = new TextEncoder().encode(jsonText(graph)).length;
  if (size > limits.max_workflow_bytes) {
    const detail = `the workflow has ${size} bytes; ${limits.max_workflow_bytes} are allowed`;
    return [{ pointer: pointer(base), code: 'workflow_too_large', detail }];
  }
  const dangling = danglingLinks(graph, base);
  return dangling.length > 0 ? dangling : cycles(graph, base);
}

/** A link, by the rule ComfyUI itself uses: a list of a string (a node's id) and a number (one of its outputs). */
export const isLink = (value: unknown): value is [string, number] =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'number';

function danglingLinks(graph: Graph, base: readonly string[]): Fault[] {
  return Object.entries(graph).flatMap(([id, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]): Fault[] =>
      isLink(value) && !Object.hasOwn(graph, value[0])
        ? [
            {
              pointer: pointer([...base, id, 'inputs', input]),
              code: 'dangling_link',
              detail: `node ${quote(id)} takes ${quote(input)} from node ${quote(value[0])}, which is not in the workflow`,
            },
          ]
        : [],
    ),
  );
}

/** One fault per cycle found, at the input that closes it. Walks with a stack of its own: a graph may be a long chain. */
function cycles(graph: Graph, base: readonly string[]): Fault[] {
  const faults: Fault[] = [];
  const state = new Map<string, 'open' | 'done'>();
  for (const start of Object.keys(graph)) {
    if (state.has(start)) {
      continue;
    }
    const stack = [{ id: start, links: linksOf(graph, start) }];
    state.set(start, 'open');
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const link = top.links.pop();
      if (link === undefined) {
        state.set(top.id, 'done');
        stack.pop();
        continue;
      }
      const seen = state.get(link.from);
      if (seen === 'open') {
        faults.push({
          pointer: pointer([...base, top.id, 'inputs', link.input]),
          code: 'dependency_cycle',
          detail: `node ${quote(top.id)} needs its own result, through ${quote(link.input)}`,
        });
      } else if (seen === undefined) {
        state.set(link.from, 'open');
        stack.push({ id: link.from, links: linksOf(graph, link.from) });
      }
    }
  }
  return faults;
}

const linksOf = (graph: Graph, id: string): { input: string; from: string }[] =>
  Object.entries(graph[id]?.inputs ?? {}).flatMap(([input, value]) =>
    isLink(value) ? [{ input, from: value[0] }] : [],
  );
