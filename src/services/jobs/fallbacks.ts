import { fallbacksOf } from '../../config/schema.ts';
import type { FallbackEndpoint, Graph } from '../../contract/new-job.ts';
import { endpointAccessProblem } from '../auth/endpoint-access.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { nodesOf, unknownNodes } from '../endpoints/node-catalog.ts';
import { pointersIn } from '../../domain/workflow/graph.ts';
import { shape } from '../../domain/workflow/shaping/shape.ts';
import { rulesOf } from './check.ts';

/**
 * Returns the fallbacks of an endpoint for this graph and key: endpoints that the key may use, and whose limits, nodes
 * and policy accept the graph unchanged. `fileNames`: the names of the job's files. A graph that an endpoint would
 * reject or clamp must not reach it as a fallback either.
 */
export async function fallbacksFor(
  context: ServiceContext,
  caller: Caller,
  endpoint: string,
  graph: Graph,
  fileNames: readonly string[] = [],
): Promise<FallbackEndpoint[]> {
  const { endpoints } = context.config;
  const usable = fallbacksOf(endpoints, endpoint).filter(
    (name) => endpointAccessProblem(context.config, caller, name) === null,
  );
  const fits = await Promise.all(usable.map((name) => mayRun(context, caller, name, graph, fileNames)));
  return usable
    .filter((_, index) => fits[index] === true)
    .map((name) => ({ endpoint: name, price_per_second: endpoints[name]?.price?.per_second ?? null }));
}

async function mayRun(
  context: ServiceContext,
  caller: Caller,
  endpoint: string,
  graph: Graph,
  fileNames: readonly string[],
): Promise<boolean> {
  const nodes = await nodesOf(context, endpoint);
  const rules = rulesOf(context.config.limits, context.config.endpoints[endpoint], caller.nodes, nodes?.facts);
  const refusing = { ...rules, limits: { ...rules.limits, on_limit: 'refuse' as const } };
  if (Object.keys(graph).length > rules.maxNodes) {
    return false;
  }
  const nothing = {
    params: {},
    overrides: {},
    randomizeSeeds: false,
    inputNames: new Map(fileNames.map((name) => [name, name])),
    tempOutputs: false,
  };
  const pointerOf = pointersIn([]);
  const { issues } = shape(graph, nothing, refusing, context.newSeed, pointerOf);
  return issues.count === 0 && unknownNodes(nodes, endpoint, graph, pointerOf).length === 0;
}
