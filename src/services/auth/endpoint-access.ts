import type { Config } from '../../config/schema.ts';
import { USUAL_ENDPOINT } from '../../contract/endpoint.ts';
import type { Caller } from '../context.ts';
import { quote, type CoreProblem } from '../../domain/problems.ts';

/**
 * Why a caller may not use an endpoint; null when it may, or when there is no such endpoint, which is another answer. The key's list
 * is looked at first, so that a bounded key does not learn which endpoints there are.
 */
export function endpointBarred(config: Config, caller: Caller, endpoint: string): CoreProblem | null {
  const { endpoints, environment } = caller;
  if (endpoints !== null && !endpoints.includes(endpoint)) {
    const detail = `the key may use ${endpoints.map(quote).join(', ')}, not ${quote(endpoint)}`;
    return { code: 'endpoint_not_allowed', detail };
  }
  const target = Object.hasOwn(config.endpoints, endpoint) ? config.endpoints[endpoint] : undefined;
  return target === undefined || target.environment === 'any' || target.environment === environment
    ? null
    : { code: 'endpoint_not_allowed', detail: `${quote(endpoint)} is for ${target.environment} keys` };
}

/**
 * The endpoint of a request that names none: `default`; for a test key that may not use it the first that is for test keys, so that
 * the same request works with a key of either environment.
 */
export function usualEndpoint(config: Config, caller: Caller): string {
  const isFor = (name: string): boolean => endpointBarred(config, caller, name) === null;
  const tests = Object.keys(config.endpoints).filter((name) => config.endpoints[name]?.environment === 'test');
  return caller.environment === 'live' || isFor(USUAL_ENDPOINT)
    ? USUAL_ENDPOINT
    : (tests.find(isFor) ?? USUAL_ENDPOINT);
}
