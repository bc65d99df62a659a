import type { EndpointStatus } from '../../contract/endpoint.ts';
import type { Endpoint } from '../../config/schema.ts';
import { endpointAccessProblem } from '../auth/endpoint-access.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/** An endpoint's configuration and status. `fallback` is also null when the caller may not use it. */
export type EndpointView = {
  name: string;
  config: Pick<Endpoint, 'environment' | 'worker' | 'limits' | 'price'>;
  fallback: string | null;
  /** Null when its object did not answer. */
  status: EndpointStatus | null;
};

/** Lists the endpoints that the caller may use, by name. */
export async function listEndpoints(context: ServiceContext, caller: Caller): Promise<EndpointView[]> {
  const names = Object.keys(context.config.endpoints).filter((name) => isOpenTo(context, caller, name));
  return Promise.all(names.sort().map((name) => viewOf(context, caller, name)));
}

/** Returns one endpoint. An endpoint that the caller may not use is not found. */
export async function getEndpoint(
  context: ServiceContext,
  caller: Caller,
  name: string,
): Promise<Result<EndpointView, Problem>> {
  return isOpenTo(context, caller, name) ? ok(await viewOf(context, caller, name)) : fail(notFound);
}

const isOpenTo = (context: ServiceContext, caller: Caller, name: string): boolean =>
  Object.hasOwn(context.config.endpoints, name) && endpointAccessProblem(context.config, caller, name) === null;

async function viewOf(context: ServiceContext, caller: Caller, name: string): Promise<EndpointView> {
  const config = context.config.endpoints[name];
  if (config === undefined) {
    throw new Error(`Endpoint ${name} does not exist.`);
  }
  const { environment, worker, limits, price, fallback } = config;
  return {
    name,
    config: { environment, worker, limits, ...(price === undefined ? {} : { price }) },
    fallback: fallback !== undefined && isOpenTo(context, caller, fallback) ? fallback : null,
    status: await context.env.ENDPOINT.getByName(name)
      .status()
      .catch(() => null),
  };
}
