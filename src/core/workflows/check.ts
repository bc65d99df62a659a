import type { Graph } from '../../contract/new-job.ts';
import { quote, type Fault } from '../problems.ts';
import { isLink, type Place } from './graph.ts';

/** Rules every graph must obey before a GPU is asked to run it. Pure; what a class accepts is ComfyUI's to judge. */
export function checkGraph(graph: Graph, place: Place): Fault[] {
  const dangling = danglingLinks(graph, place);
  return dangling.length > 0 ? dangling : cycles(graph, place);
}

/** A graph's text may have this many bytes. */
export function checkSize(text: string, maxBytes: number, place: Place): Fault[] {
  // Every UTF-16 unit is one to three bytes: most texts need no count.
  const size = text.length * 3 <= maxBytes ? 0 : new TextEncoder().encode(text).length;
  return size <= maxBytes
    ? []
    : [
        {
          pointer: place(),
          code: 'workflow_too_large',
          detail: `the workflow has ${size} bytes; ${maxBytes} are allowed`,
        },
      ];
}

function danglingLinks(graph: Graph, place: Place): Fault[] {
  return Object.entries(graph).flatMap(([id, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]): Fault[] =>
      isLink(value) && !Object.hasOwn(graph, value[0])
        ? [
            {
              pointer: place(id, 'inputs', input),
              code: 'dangling_link',
              detail: `node ${quote(id)} takes ${quote(input)} from node ${quote(value[0])}, which is not in the workflow`,
            },
          ]
        : [],
    ),
  );
}

/** One fault per cycle found, at the input that closes it. Walks with a stack of its own: a graph may be a long chain. */
function cycles(graph: Graph, place: Place): Fault[] {
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
          pointer: place(top.id, 'inputs', link.input),
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
