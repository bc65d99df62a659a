import type { Graph } from '../../contract/new-job.ts';
import { ValidationErrors } from '../validation-errors.ts';
import { quote, type Issue } from '../problems.ts';
import { isLink, type RequestPointer } from './graph.ts';
import { neededNodes, type Facts } from './results.ts';
import { isLargerThan } from './size.ts';

const FILES_ADVICE = 'Send files as inputs, not as base64 in the workflow.';

/** Checks a graph before a GPU runs it: links and cycles. ComfyUI itself checks which values a node class accepts. */
export function checkGraph(graph: Graph, pointerOf: RequestPointer, facts: Facts = null): ValidationErrors {
  const dangling = danglingLinks(graph, pointerOf, facts);
  return dangling.count > 0 ? dangling : cycles(graph, pointerOf);
}

/** Like `checkSize`, before the graph is written as text. Reports only a graph that is certainly too large. */
export function checkLeastSize(graph: Graph, maxBytes: number, pointerOf: RequestPointer): Issue[] {
  const detail = `The workflow is larger than the maximum of ${maxBytes} bytes. ${FILES_ADVICE}`;
  return isLargerThan(maxBytes, graph) ? [{ pointer: pointerOf(), code: 'workflow_too_large', detail }] : [];
}

/** Checks that a graph's text has at most `maxBytes` bytes. */
export function checkSize(text: string, maxBytes: number, pointerOf: RequestPointer): Issue[] {
  // A UTF-16 unit takes at most three bytes, so most texts need no exact count.
  const size = text.length * 3 <= maxBytes ? 0 : new TextEncoder().encode(text).length;
  return size <= maxBytes
    ? []
    : [
        {
          pointer: pointerOf(),
          code: 'workflow_too_large',
          detail: `The workflow is ${size} bytes. The maximum is ${maxBytes} bytes. ${FILES_ADVICE}`,
        },
      ];
}

/** Reports each link to a missing node, at nodes that an output needs. ComfyUI does not check other nodes. */
function danglingLinks(graph: Graph, pointerOf: RequestPointer, facts: Facts): ValidationErrors {
  const issues = new ValidationErrors();
  let needed: Set<string> | null = null;
  for (const [id, node] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      if (isLink(value) && !Object.hasOwn(graph, value[0]) && (needed ??= neededNodes(graph, facts)).has(id)) {
        issues.add('dangling_link', () => ({
          pointer: pointerOf(id, 'inputs', input),
          detail: `Node ${quote(id)} takes ${quote(input)} from node ${quote(value[0])}, which is not in the workflow.`,
        }));
      }
    }
  }
  return issues;
}

/** Reports each cycle at the input that closes it. Uses its own stack, because a graph may be one long chain. */
function cycles(graph: Graph, pointerOf: RequestPointer): ValidationErrors {
  const issues = new ValidationErrors();
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
        issues.add('dependency_cycle', () => ({
          pointer: pointerOf(id, 'inputs', link.input),
          detail: `Node ${quote(id)} depends on its own result, through ${quote(link.input)}.`,
        }));
      } else if (seen === undefined) {
        state.set(link.from, 'open');
        stack.push({ id: link.from, links: linksOf(graph, link.from) });
      }
    }
  }
  return issues;
}

const linksOf = (graph: Graph, id: string): { input: string; from: string }[] =>
  Object.entries(graph[id]?.inputs ?? {}).flatMap(([input, value]) =>
    isLink(value) ? [{ input, from: value[0] }] : [],
  );
