import type { Resolved } from '../../contract/job.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../problems.ts';
import { ok, type Result } from '../result.ts';
import type { Renamed } from '../workflows/shape/prefixes.ts';
import { checkRequest } from './check.ts';
import { priceOf, type PriceEstimate } from './price.ts';

/** What a submit would run. `workflow` is JSON text. */
export type DryRun = {
  endpoint: string;
  workflow: string;
  resolved: Resolved;
  renamed: Renamed[];
  nodes: { count: number; checked: boolean };
  inputs: (JobInput & { used_by: string[] })[];
  finish_within: number;
  price: PriceEstimate | null;
};

/**
 * Everything a submit does up to admission, and nothing after: nothing is stored, counted or sent. It succeeds exactly when a
 * submit would get as far as admission. Seeds it draws are examples: a submit draws its own.
 */
export async function dryRun(core: Core, caller: Caller, body: unknown): Promise<Result<DryRun, CoreProblem>> {
  const checked = await checkRequest(core, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { shaped, inputs, endpoint, finishWithinS, nodesChecked } = checked.value;
  const users = new Map<string, string[]>(inputs.map(({ name }) => [name, []]));
  for (const [id, node] of Object.entries(shaped.graph)) {
    for (const name of new Set(Object.values(node.inputs).flatMap(textsIn))) {
      users.get(name)?.push(id);
    }
  }
  return ok({
    endpoint,
    workflow: shaped.text,
    resolved: shaped.resolved,
    renamed: shaped.renamed,
    nodes: { count: Object.keys(shaped.graph).length, checked: nodesChecked },
    inputs: inputs.map((input) => ({ ...input, used_by: users.get(input.name) ?? [] })),
    finish_within: finishWithinS,
    price: priceOf(core.config.endpoints[endpoint]?.price, finishWithinS),
  });
}

/** The texts a worker compares with the names of inputs: whole values, also within lists and objects. */
const textsIn = (value: unknown): string[] =>
  typeof value === 'string'
    ? [value]
    : typeof value === 'object' && value !== null
      ? Object.values(value).flatMap(textsIn)
      : [];
