import type { Config } from '../../config/schema.ts';
import { DEFAULT_ENDPOINT } from '../../contract/endpoint.ts';
import type { Caller } from '../context.ts';
import { quote, type Problem } from '../../domain/problems.ts';

/**
 * Returns why a caller may not use an endpoint. Null when it may, or when the endpoint does not exist, which is a
 * different error. The key's list is checked first, so that a restricted key cannot find out which endpoints exist.
 */
export function endpointAccessProblem(config: Config, caller: Caller, endpoint: string): Problem | null {
  const { endpoints, environment } = caller;
  if (endpoints !== null && !endpoints.includes(endpoint)) {
    const detail = `The key may use ${endpoints.map(quote).join(', ')}, not ${quote(endpoint)}.`;
    return { code: 'endpoint_not_allowed', detail };
  }
  const target = Object.hasOwn(config.endpoints, endpoint) ? config.endpoints[endpoint] : undefined;
  return target === undefined || target.environment === 'any' || target.environment === environment
    ? null
    : { code: 'endpoint_not_allowed', detail: `Endpoint ${quote(endpoint)} accepts only ${target.environment} keys.` };
}

/**
 * The endpoint of a request that names none: `default`, or, for a test key that may not use it, the first test
 * endpoint. So the same request works with keys of both environments.
 */
export function defaultEndpoint(config: Config, caller: Caller): string {
  const isFor = (name: string): boolean => endpointAccessProblem(config, caller, name) === null;
  const tests = Object.keys(config.endpoints).filter((name) => config.endpoints[name]?.environment === 'test');
  return caller.environment === 'live' || isFor(DEFAULT_ENDPOINT)
    ? DEFAULT_ENDPOINT
    : (tests.find(isFor) ?? DEFAULT_ENDPOINT);
}
