import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Graph } from '../../src/contract/new-job.ts';
import { pointersIn } from '../../src/domain/workflow/graph.ts';
import { parseWorkflow } from '../../src/domain/workflow/parse.ts';
import { FIELDS, type Overrides } from '../../src/domain/workflow/shaping/overrides.ts';
import { shape, type Rules } from '../../src/domain/workflow/shaping/shape.ts';

/**
 * Says where overrides would go in graphs of your own: `node test/parity/placements.ts FOLDER` reads every JSON file of the folder that
 * is a graph in API format, and prints one line of JSON per file and field: the inputs that would be set, or the refusal.
 */

const VALUES: Record<(typeof FIELDS)[number], string | number> = {
  prompt: 'a new prompt',
  negative_prompt: 'a new negative prompt',
  seed: 4242,
  width: 640,
  height: 448,
  length: 33,
  steps: 7,
};
const NO_LIMITS: Rules = {
  limits: { on_limit: 'refuse' },
  maxNodes: 100_000,
  maxBytes: 100_000_000,
  policies: [],
  allowUrls: true,
  facts: null,
};

function placed(graph: Graph, overrides: Overrides): { inputs: string[] } | { refused: string; detail: string } {
  const shaping = {
    params: {},
    overrides,
    randomizeSeeds: false,
    inputNames: new Map<string, string>(),
    tempOutputs: false,
  };
  const { shaped, issues } = shape(graph, shaping, NO_LIMITS, () => 1, pointersIn(['workflow']));
  const refusal = issues.listed.find(({ pointer }) => pointer.startsWith('#/overrides'));
  return refusal === undefined
    ? { inputs: shaped.resolved.overrides.map(({ node, input }) => `${node}.${input}`) }
    : { refused: refusal.code, detail: refusal.detail };
}

const [, , folder] = process.argv;
if (folder === undefined) {
  throw new Error('usage: node test/parity/placements.ts FOLDER');
}
for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  const parsed = parseWorkflow(JSON.parse(readFileSync(join(folder, file), 'utf8')), NO_LIMITS.maxNodes, []);
  if (parsed.ok) {
    for (const field of FIELDS) {
      console.log(JSON.stringify({ file, field, ...placed(parsed.value, { [field]: VALUES[field] }) }));
    }
  }
}
