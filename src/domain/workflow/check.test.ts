import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limitsSchema } from '../../contract/limits.ts';
import type { Graph } from '../../contract/new-job.ts';
import { checkGraph } from './check.ts';
import { pointersIn } from './graph.ts';
import { parseWorkflow } from './parse.ts';

const limits = limitsSchema.parse({});
const check = (graph: Graph) => checkGraph(graph, pointersIn(['workflow'])).listed;

/** A graph of nodes 0 to n-1 from pairs [node, node it takes from]. */
function graphOf(size: number, links: readonly (readonly [number, number])[]): Graph {
  const graph: Graph = {};
  for (let id = 0; id < size; id += 1) {
    graph[String(id)] = { class_type: 'A', inputs: {} };
  }
  for (const [at, [to, from]] of links.entries()) {
    const node = graph[String(to)];
    if (node !== undefined) {
      node.inputs[`in${at}`] = [String(from), 0];
    }
  }
  return graph;
}

describe('a graph', () => {
  const size = 12;
  const link = fc.tuple(fc.nat({ max: size - 1 }), fc.nat({ max: size - 1 }));

  it('has no issue when it has no cycle', () => {
    const downhill = link.filter(([to, from]) => to > from);
    fc.assert(
      fc.property(fc.array(downhill, { maxLength: 40 }), (links) => {
        expect(check(graphOf(size, links))).toEqual([]);
      }),
    );
  });

  it('has a cycle exactly when its nodes have no topological order', () => {
    fc.assert(
      fc.property(fc.array(link, { maxLength: 20 }), (links) => {
        const issues = check(graphOf(size, links));
        expect(issues.length > 0).toBe(!canBeOrdered(size, links));
        expect(issues.every((issue) => issue.code === 'dependency_cycle')).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('may be one long chain', () => {
    const links = Array.from({ length: limits.max_nodes - 1 }, (_, at) => [at, at + 1] as const);
    expect(check(graphOf(limits.max_nodes, links))).toEqual([]);
    expect(check(graphOf(limits.max_nodes, [...links, [limits.max_nodes - 1, 0]]))).toHaveLength(1);
  });

  it('may contain lists that are not links', () => {
    const inputs = { a: ['9'], b: ['9', 0, 0], c: [9, 0], d: ['9', '0'], e: [], f: { 0: '9' } };
    expect(check({ '1': { class_type: 'A', inputs } })).toEqual([]);
  });
});

/** The textbook way: take away what needs nothing until nothing is left, or nothing can be taken. */
function canBeOrdered(size: number, links: readonly (readonly [number, number])[]): boolean {
  let left = new Set(Array.from({ length: size }, (_, id) => id));
  for (;;) {
    const stuck = new Set([...left].filter((id) => links.some(([to, from]) => to === id && left.has(from))));
    if (stuck.size === left.size) {
      return left.size === 0;
    }
    left = stuck;
  }
}

describe('parsing a workflow', () => {
  it('keeps class, inputs and _meta of each node, and drops the rest', () => {
    const parsed = parseWorkflow(
      { '1': { class_type: 'A', inputs: { x: 1 }, _meta: { title: 't' }, is_changed: ['x'] } },
      limits.max_nodes,
      [],
    );
    expect(parsed).toEqual({ ok: true, value: { '1': { class_type: 'A', inputs: { x: 1 }, _meta: { title: 't' } } } });
  });

  it('accepts a node named like a property of every object', () => {
    const graph = { constructor: { class_type: 'A', inputs: { toString: 1 } } };
    const parsed = parseWorkflow(graph, limits.max_nodes, []);
    expect(parsed.ok && Object.hasOwn(parsed.value, 'constructor')).toBe(true);
  });

  it('accepts a node named "nodes" in API format', () => {
    const parsed = parseWorkflow({ nodes: { class_type: 'A', inputs: {} } }, limits.max_nodes, []);
    expect(parsed.ok).toBe(true);
  });
});
