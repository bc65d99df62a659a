import { DEFAULT_ENDPOINT } from '../contract/endpoint.ts';
import { RATE_LIMIT_NAMES, type Env } from '../env.ts';

/** What the advice looks at of an endpoint. */
type Advised = { environment: 'test' | 'live' | 'any' };

/** What is allowed and may not be meant. Names settings, never quotes a secret. */
export const adviceOn = (endpoints: Record<string, Advised>, env: Env): string[] => [
  ...adviceOnUsual(Object.hasOwn(endpoints, DEFAULT_ENDPOINT) ? endpoints[DEFAULT_ENDPOINT] : undefined),
  ...adviceOnTests(Object.entries(endpoints)),
  ...adviceOnShields(env),
];

/** A live key is not led to any endpoint but the usual one: what it costs is for the request to name. */
function adviceOnUsual(usual: Advised | undefined): string[] {
  if (usual === undefined) {
    return [`ENDPOINTS: none is called "${DEFAULT_ENDPOINT}": every request of a live key must name its endpoint`];
  }
  return usual.environment === 'test'
    ? [`ENDPOINTS.${DEFAULT_ENDPOINT}.environment: "test": every request of a live key must name another endpoint`]
    : [];
}

/** Test keys are for trying things out at no cost; what they may reach should be nobody's surprise. */
function adviceOnTests(all: readonly [string, Advised][]): string[] {
  const none = all.every(([, { environment }]) => environment === 'live');
  return [
    ...(none ? ['ENDPOINTS: none is for test keys (environment "test"): they can run nothing'] : []),
    ...all
      .filter(([, { environment }]) => environment === 'any')
      .map(([name]) => `ENDPOINTS.${name}.environment: "any" lets test keys use what it costs`),
  ];
}

/** Without one the gateway works, and a flood costs what it costs. */
const adviceOnShields = (env: Env): string[] =>
  RATE_LIMIT_NAMES.filter((name) => env[name] === undefined).map((name) => `${name}: no binding, so no shield`);
