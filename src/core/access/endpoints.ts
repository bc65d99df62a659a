import type { Config } from '../../config.ts';
import type { Caller } from '../context.ts';
import { quote, type CoreProblem } from '../problems.ts';

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
