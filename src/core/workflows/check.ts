import type { Graph } from '../../contract/new-job.ts';
import { FaultList } from '../fault-list.ts';
import { quote, type Fault } from '../problems.ts';
import { isLink, type Place } from './graph.ts';
import { neededNodes, type Facts } from './results.ts';
import { isLargerThan } from './size.ts';

const FILES_ADVICE = 'Send files as inputs, not as base64 in the workflow.';

/** Rules every graph must obey before a GPU is asked to run it. Pure; what a class accepts is ComfyUI's to judge. */
export function checkGraph(graph: Graph, place: Place, facts: Facts = null): FaultList {
  const dangling = danglingLinks(graph, place, facts);
  return dangling.count > 0 ? dangling : cycles(graph, place);
}

/** The same as `checkSize` of a graph that is not yet text: finds what is certain without writing it. */
export function checkLeastSize(graph: Graph, maxBytes: number, place: Place): Fault[] {
  const detail = `The workflow has more than the ${maxBytes} bytes that are allowed. ${FILES_ADVICE}`;
  return isLargerThan(maxBytes, graph) ? [{ pointer: place(), code: 'workflow_too_large', detail }] : [];
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
          detail: `The workflow has ${size} bytes; ${maxBytes} are allowed. ${FILES_ADVICE}`,
        },
      ];
}

/** One fault per link to a node that is not there, at nodes that some output needs: ComfyUI does not look at others. */
function danglingLinks(graph: Graph, place: Place, facts: Facts): FaultList {
  const faults = new FaultList();
  let needed: Set<string> | null = null;
  for (const [id, node] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      if (isLink(value) && !Object.hasOwn(graph, value[0]) && (needed ??= neededNodes(graph, facts)).has(id)) {
        faults.add('dangling_link', () => ({
          pointer: place(id, 'inputs', input),
          detail: `node ${quote(id)} takes ${quote(input)} from node ${quote(value[0])}, which is not in the workflow`,
        }));
      }
    }
  }
  return faults;
}

/** One fault per cycle found, at the input that closes it. Walks with a stack of its own: a graph may be a long chain. */
function cycles(graph: Graph, place: Place): FaultList {
  const faults = new FaultList();
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
        const { id } = top;
        faults.add('dependency_cycle', () => ({
          pointer: place(id, 'inputs', link.input),
          detail: `node ${quote(id)} needs its own result, through ${quote(link.input)}`,
        }));
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
