import type { Resolved } from '../../contract/job.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import { ok, type Result } from '../../domain/result.ts';
import { portableName } from '../../domain/workflow/input-name.ts';
import type { Renamed } from '../../domain/workflow/shaping/prefixes.ts';
import type { JobBody } from './inline.ts';
import { checkRequest } from './check.ts';
import { priceOf, type PriceEstimate } from '../../domain/job/price.ts';
import type { InputRequest } from './request.ts';

/** The job that a submit would run. `workflow` is JSON text. */
export type DryRun = {
  endpoint: string;
  workflow: string;
  resolved: Resolved;
  renamed: Renamed[];
  nodes: { count: number; checked: boolean };
  inputs: DryInput[];
  finish_within: number;
  price: PriceEstimate | null;
};

/**
 * An input that the job would have: an asset of the account (for a file in the body, the future asset), an output of
 * another job, or a remote file, which only a submit fetches. `used_by`: ids of the nodes that use it.
 */
export type DryInput = {
  name: string;
  asset: string | null;
  output: string | null;
  url: string | null;
  size_bytes: number | null;
  content_type: string | null;
  used_by: string[];
};

/**
 * Does everything that a submit does before admission. Stores, counts and sends nothing. Succeeds exactly when a submit
 * would reach admission. Random seeds are examples: a submit draws its own.
 */
export async function dryRun(context: ServiceContext, caller: Caller, body: JobBody): Promise<Result<DryRun, Problem>> {
  const checked = await checkRequest(context, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { shaped, requested, inputNames, inputs, endpoint, finishWithinS, nodesChecked } = checked.value;
  const nameOf = ({ name }: InputRequest): string => inputNames.get(portableName(name)) ?? name;
  const usedBy = new Map<string, string[]>(requested.map((request) => [nameOf(request), []]));
  const found = new Map(inputs.map((input) => [input.name, input]));
  for (const [id, node] of Object.entries(shaped.graph)) {
    for (const name of new Set(Object.values(node.inputs).flatMap(textsIn))) {
      usedBy.get(name)?.push(id);
    }
  }
  return ok({
    endpoint,
    workflow: shaped.text,
    resolved: shaped.resolved,
    renamed: shaped.renamed,
    nodes: { count: Object.keys(shaped.graph).length, checked: nodesChecked },
    inputs: requested.map((request) =>
      dryInput(request, found.get(nameOf(request)), usedBy.get(nameOf(request)) ?? []),
    ),
    finish_within: finishWithinS,
    price: priceOf(context.config.endpoints[endpoint]?.price, finishWithinS),
  });
}

const dryInput = ({ name, output, url }: InputRequest, found: JobInput | undefined, used_by: string[]): DryInput => ({
  name,
  // R2 keys are internal to the gateway.
  asset: found === undefined || output !== undefined ? null : `sha256:${found.sha256}`,
  output: output ?? null,
  url: url ?? null,
  size_bytes: found?.size_bytes ?? null,
  content_type: found?.content_type ?? null,
  used_by,
});

/** The texts that a worker compares with input names: whole values, also inside lists and objects. */
const textsIn = (value: unknown): string[] =>
  typeof value === 'string'
    ? [value]
    : typeof value === 'object' && value !== null
      ? Object.values(value).flatMap(textsIn)
      : [];
