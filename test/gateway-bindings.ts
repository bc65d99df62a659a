/**
 * Endpoints for tests in which RunPod fails. The state of an endpoint outlives a test, so each test uses one of its own.
 * `frail-n` has no fallback; the fallback of `leaning-n` is `spare-n`.
 */
const FRAIL = { window: 60, failures: 3, pause: 10, no_workers_after: 60, max_backlog: 2 };
const frailEndpoints = Object.fromEntries(
  Array.from({ length: 32 }, (_, n) => [
    [`frail-${n}`, { runpod_id: `frail-${n}`, environment: 'any', breaker: FRAIL }],
    [`leaning-${n}`, { runpod_id: `leaning-${n}`, environment: 'any', breaker: FRAIL, fallback: `spare-${n}` }],
    [`spare-${n}`, { runpod_id: `spare-${n}`, environment: 'any', breaker: FRAIL }],
  ]).flat(),
);

/** Variables and secrets of the gateway under test. They are invented, and used only on loopback and inside workerd. */
export const testBindings = {
  PUBLIC_URL: 'https://gateway.test',
  RUNPOD_BASE_URL: 'https://runpod.test/v2',
  ENDPOINTS: JSON.stringify({
    // Tests of other subjects make this endpoint fail without opening its breaker.
    default: { runpod_id: 'ep1', environment: 'any', breaker: { failures: 1_000_000 } },
    narrow: { runpod_id: 'ep2', environment: 'any', breaker: { failures: 1_000_000 } },
    foreign: { runpod_id: 'ep3', worker: 'worker-comfyui', environment: 'any', breaker: { failures: 1_000_000 } },
    ...frailEndpoints,
  }),
  R2_S3_ENDPOINT: 'https://r2.test',
  TOKEN_SECRET: 'test-token-secret-test-token-secret-1',
  ADMIN_TOKEN: 'test-admin-token-test-admin-token-12',
  RUNPOD_API_KEY: 'test-runpod-key',
  R2_ACCESS_KEY_ID: 'local',
  R2_SECRET_ACCESS_KEY: 'local-secret',
};
