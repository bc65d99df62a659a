import { DEFAULT_ENDPOINT } from '../contract/endpoint.ts';
import { RATE_LIMIT_NAMES, type Env } from '../env.ts';

/** The settings of an endpoint that advice depends on. */
type AdvisedEndpoint = { environment: 'test' | 'live' | 'any' };

/** Settings that are valid but possibly a mistake. The texts name settings and never quote a secret. */
export const adviceOn = (endpoints: Record<string, AdvisedEndpoint>, env: Env): string[] => [
  ...adviceOnDefaultEndpoint(Object.hasOwn(endpoints, DEFAULT_ENDPOINT) ? endpoints[DEFAULT_ENDPOINT] : undefined),
  ...adviceOnTestKeys(Object.entries(endpoints)),
  ...adviceOnRateLimits(env),
];

/** Only the default endpoint is used without being named: a request must name any other one, which may cost more. */
function adviceOnDefaultEndpoint(endpoint: AdvisedEndpoint | undefined): string[] {
  if (endpoint === undefined) {
    return [
      `ENDPOINTS: no endpoint is named "${DEFAULT_ENDPOINT}": every request with a live key must name its endpoint`,
    ];
  }
  return endpoint.environment === 'test'
    ? [`ENDPOINTS.${DEFAULT_ENDPOINT}.environment: "test": every request with a live key must name another endpoint`]
    : [];
}

/** Test keys are meant to run jobs at no cost, so the operator should know which endpoints they can use. */
function adviceOnTestKeys(all: readonly [string, AdvisedEndpoint][]): string[] {
  const none = all.every(([, { environment }]) => environment === 'live');
  return [
    ...(none ? ['ENDPOINTS: no endpoint accepts test keys (environment "test" or "any"): they cannot run jobs'] : []),
    ...all
      .filter(([, { environment }]) => environment === 'any')
      .map(
        ([name]) => `ENDPOINTS.${name}.environment: "any" lets test keys run jobs on an endpoint that may cost money`,
      ),
  ];
}

/**
 * The gateway works without the bindings of the edge rate limits, but does not stop a flood of requests at the edge.
 */
const adviceOnRateLimits = (env: Env): string[] =>
  RATE_LIMIT_NAMES.filter((name) => env[name] === undefined).map(
    (name) => `${name}: no such binding, so this edge rate limit is off`,
  );
