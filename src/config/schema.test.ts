import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { testBindings } from '../../test/gateway-bindings.ts';
import { limitsSchema, policySchema } from '../contract/limits.ts';
import { configOf, fallbacksOf, readConfig, requireConfig } from './schema.ts';
import { RATE_LIMIT_NAMES, type Env } from '../env.ts';
import { CONFIG_NAMES, type ConfigName } from './names.ts';

const bindings = {
  JOB: env.JOB,
  ACCOUNT: env.ACCOUNT,
  WEBHOOK: env.WEBHOOK,
  ENDPOINT: env.ENDPOINT,
  DB: env.DB,
  BUCKET: env.BUCKET,
  ...Object.fromEntries(RATE_LIMIT_NAMES.map((name) => [name, env[name]])),
};
const good: Env = { ...bindings, ...testBindings };
/** Something that must never be quoted. */
const CANARY = 'canary';
const LONG = 'x'.repeat(32);

const without = (name: ConfigName): Env => {
  const { [name]: _gone, ...rest } = { ...testBindings } as Partial<Record<ConfigName, string>>;
  return { ...bindings, ...rest };
};
const problemsOf = (broken: Env): string[] => {
  const result = readConfig(broken);
  return result.ok ? [] : result.problems;
};

describe('the configuration', () => {
  it('is read with defaults when it is complete', () => {
    const result = readConfig(good);
    expect(result).toMatchObject({
      ok: true,
      config: {
        publicUrl: 'https://gateway.test',
        runpod: { baseUrl: 'https://runpod.test/v2' },
        endpoints: { default: { runpod_id: 'ep1' } },
        policy: { finish_within: 900, max_attempts: 2, retention: 604_800 },
        limits: { jobs_in_flight: 20, max_outputs: 1000 },
        s3: { bucket: 'comfy-edge' },
      },
    });
    expect(policySchema.parse({})).toEqual(requireConfig(good).policy);
    expect(limitsSchema.parse({})).toEqual(requireConfig(good).limits);
  });

  it.each([
    ['{"default": {"runpod_id": "gpu"}}', 'ENDPOINTS: no endpoint accepts test keys'],
    ['{"default": {"runpod_id": "gpu", "environment": "any"}}', 'ENDPOINTS.default.environment: "any" lets test keys'],
    [
      '{"gpu": {"runpod_id": "gpu"}, "test": {"runpod_id": "cpu", "environment": "test"}}',
      'ENDPOINTS: no endpoint is named "default": every request with a live key must name its endpoint',
    ],
    [
      '{"gpu": {"runpod_id": "gpu"}, "default": {"runpod_id": "cpu", "environment": "test"}}',
      'ENDPOINTS.default.environment: "test": every request with a live key must name another endpoint',
    ],
  ])('is accepted with advice: %s', (ENDPOINTS, advice) => {
    const read = readConfig({ ...good, ENDPOINTS });
    expect(read).toMatchObject({ ok: true, advice: [expect.stringContaining(advice)] });
  });

  it('needs no advice where test keys have an endpoint of their own', () => {
    const ENDPOINTS = '{"default": {"runpod_id": "gpu"}, "test": {"runpod_id": "cpu", "environment": "test"}}';
    expect(readConfig({ ...good, ENDPOINTS })).toMatchObject({ ok: true, advice: [] });
  });

  it.each(RATE_LIMIT_NAMES)('is accepted without the binding %s, with advice', (name) => {
    const ENDPOINTS = '{"default": {"runpod_id": "gpu"}, "test": {"runpod_id": "cpu", "environment": "test"}}';
    const read = readConfig({ ...good, ENDPOINTS, [name]: undefined });
    expect(read).toMatchObject({ ok: true, advice: [`${name}: no such binding, so this edge rate limit is off`] });
  });

  it('is parsed once for an environment', () => {
    expect(configOf(good)).toBe(configOf(good));
    expect(configOf({ ...good })).not.toBe(configOf(good));
  });

  it.each(['JOB', 'ACCOUNT', 'WEBHOOK', 'ENDPOINT', 'DB', 'BUCKET'] as const)(
    'names the missing binding %s',
    (name) => {
      expect(problemsOf({ ...good, [name]: undefined })).toEqual([`${name}: binding is missing`]);
    },
  );

  const optional = new Set<ConfigName>(['RUNPOD_BASE_URL', 'POLICY', 'LIMITS', 'CORS_ORIGINS', 'R2_BUCKET']);
  it.each(CONFIG_NAMES.filter((name) => !optional.has(name)))('names only the missing %s', (name) => {
    const problems = problemsOf(without(name));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${name}: `));
  });

  it.each([...optional])('has a default for %s', (name) => {
    expect(problemsOf(without(name))).toEqual([]);
  });

  it.each([
    ['PUBLIC_URL', `not a url ${CANARY}`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `ftp://${CANARY}.test`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `https://gw.test/${CANARY}`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `https://gw.test?${CANARY}`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `https://${CANARY}@gw.test`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `https://gw.test#${CANARY}`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `http://${CANARY}.test`, 'PUBLIC_URL'],
    ['PUBLIC_URL', `http://localhost.${CANARY}.test`, 'PUBLIC_URL'],
    ['PUBLIC_URL', 'http://10.0.0.1:8787', 'PUBLIC_URL'],
    ['PUBLIC_URL', 'http://0.0.0.0:8787', 'PUBLIC_URL'],
    ['RUNPOD_BASE_URL', CANARY, 'RUNPOD_BASE_URL'],
    ['RUNPOD_BASE_URL', `http://${CANARY}.test/v2`, 'RUNPOD_BASE_URL'],
    ['RUNPOD_BASE_URL', `https://runpod.test/v2?${CANARY}=1`, 'RUNPOD_BASE_URL'],
    ['RUNPOD_BASE_URL', 'https://runpod.test/v2?', 'RUNPOD_BASE_URL'],
    ['RUNPOD_BASE_URL', `https://${CANARY}:x@runpod.test/v2`, 'RUNPOD_BASE_URL'],
    ['ENDPOINTS', `{${CANARY}`, 'ENDPOINTS'],
    ['ENDPOINTS', '{}', 'ENDPOINTS'],
    ['ENDPOINTS', `"${CANARY}"`, 'ENDPOINTS'],
    ['ENDPOINTS', '{"default": {}}', 'ENDPOINTS.default.runpod_id'],
    ['ENDPOINTS', '{"default": {"runpod_id": "../canary?"}}', 'ENDPOINTS.default.runpod_id'],
    ['ENDPOINTS', '{"default": {"runpod_id": ""}}', 'ENDPOINTS.default.runpod_id'],
    ['ENDPOINTS', '{"Not A Name": {"runpod_id": "canary"}}', 'ENDPOINTS.Not A Name'],
    ['ENDPOINTS', '{"a": {"runpod_id": "x", "fallback": "canary"}}', 'ENDPOINTS.a.fallback'],
    ['ENDPOINTS', '{"a": {"runpod_id": "x", "fallback": "a"}}', 'ENDPOINTS.a.fallback'],
    [
      'ENDPOINTS',
      '{"a": {"runpod_id": "x", "fallback": "b"}, "b": {"runpod_id": "canary", "environment": "test"}}',
      'ENDPOINTS.a.fallback',
    ],
    [
      'ENDPOINTS',
      '{"a": {"runpod_id": "x", "fallback": "b", "price": {"per_second": 1}}, "b": {"runpod_id": "canary"}}',
      'ENDPOINTS.a.fallback',
    ],
    [
      'ENDPOINTS',
      '{"a": {"runpod_id": "x", "fallback": "b"}, "b": {"runpod_id": "canary", "worker": "worker-comfyui"}}',
      'ENDPOINTS.a.fallback',
    ],
    ['ENDPOINTS', '{"a": {"runpod_id": "canary", "breaker": {"failures": 0}}}', 'ENDPOINTS.a.breaker.failures'],
    ['POLICY', CANARY, 'POLICY'],
    ['POLICY', `{"retention": "${CANARY}"}`, 'POLICY.retention'],
    ['POLICY', '{"retention": 0}', 'POLICY.retention'],
    ['POLICY', '{"max_attempts": 0}', 'POLICY.max_attempts'],
    ['POLICY', '{"max_finish_within": 60}', 'POLICY.finish_within'],
    ['ENDPOINTS', '{"a": {"runpod_id": "x", "worker": "canary"}}', 'ENDPOINTS.a.worker'],
    [
      'ENDPOINTS',
      '{"a": {"runpod_id": "x", "fallback": "b"}, "b": {"runpod_id": "canary", "worker": "worker-comfyui"}}',
      'ENDPOINTS.a.fallback',
    ],
    ['POLICY', '{"max_finish_within": 1e9}', 'POLICY.max_finish_within'],
    ['POLICY', '{"retension": 7}', 'POLICY'],
    ['LIMITS', '[]', 'LIMITS'],
    ['LIMITS', '{"max_workflow_bytes": 5000000}', 'LIMITS.max_workflow_bytes'],
    ['LIMITS', '{"max_nodes": 1.5}', 'LIMITS.max_nodes'],
    ['LIMITS', '{"max_outputs": 5001}', 'LIMITS.max_outputs'],
    ['LIMITS', '{"max_output_bytes": 167772160001}', 'LIMITS.max_output_bytes'],
    ['R2_S3_ENDPOINT', CANARY, 'R2_S3_ENDPOINT'],
    ['R2_S3_ENDPOINT', `http://${CANARY}.test`, 'R2_S3_ENDPOINT'],
    ['R2_S3_ENDPOINT', `https://${CANARY}@r2.test`, 'R2_S3_ENDPOINT'],
    ['R2_S3_ENDPOINT', `https://user:${CANARY}@r2.test`, 'R2_S3_ENDPOINT'],
    ['R2_S3_ENDPOINT', `https://r2.test?${CANARY}`, 'R2_S3_ENDPOINT'],
    ['R2_S3_ENDPOINT', `https://r2.test#${CANARY}`, 'R2_S3_ENDPOINT'],
    ['R2_BUCKET', '', 'R2_BUCKET'],
    ['R2_BUCKET', `../${CANARY}?`, 'R2_BUCKET'],
    ['R2_BUCKET', `${CANARY}/of-another`, 'R2_BUCKET'],
    ['TOKEN_SECRET', CANARY, 'TOKEN_SECRET'],
    ['TOKEN_SECRET', `${LONG} ${CANARY}`, 'TOKEN_SECRET'],
    ['ADMIN_TOKEN', CANARY, 'ADMIN_TOKEN'],
    ['ADMIN_TOKEN', `${LONG} ${CANARY}`, 'ADMIN_TOKEN'],
    ['ADMIN_TOKEN', `${LONG}${CANARY}\n`, 'ADMIN_TOKEN'],
    ['ADMIN_TOKEN', `${LONG}${CANARY}ä`, 'ADMIN_TOKEN'],
    ['ADMIN_TOKEN', testBindings.TOKEN_SECRET, 'ADMIN_TOKEN'],
    ['RUNPOD_API_KEY', '', 'RUNPOD_API_KEY'],
    ['RUNPOD_API_KEY', `${CANARY}\n`, 'RUNPOD_API_KEY'],
    ['RUNPOD_API_KEY', testBindings.ADMIN_TOKEN, 'RUNPOD_API_KEY'],
    ['R2_SECRET_ACCESS_KEY', testBindings.TOKEN_SECRET, 'R2_SECRET_ACCESS_KEY'],
    ['R2_ACCESS_KEY_ID', '', 'R2_ACCESS_KEY_ID'],
    ['R2_SECRET_ACCESS_KEY', '', 'R2_SECRET_ACCESS_KEY'],
  ] as const)('names the place of a malformed %s and quotes no value: %s', (name, value, place) => {
    const problems = problemsOf({ ...good, [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]?.startsWith(`${place}: `)).toBe(true);
    expect(problems[0]).not.toContain(CANARY);
  });

  it.each([
    ['finish_within', 10, 518_400],
    ['max_finish_within', 900, 518_400],
    ['channel_grace', 1, 86_400],
    ['claim_grace', 1, 86_400],
    ['poll_interval', 1, 900],
    ['cancel_grace', 1, 86_400],
    ['deadline_grace', 1, 86_400],
    ['retention', 60, 315_360_000],
    ['asset_retention', 60, 315_360_000],
    ['upload_retention', 3600, 604_800],
  ])('accepts %s from %d to %d seconds', (name, least, most) => {
    const problemsAt = (value: number): string[] =>
      problemsOf({ ...good, POLICY: JSON.stringify({ max_finish_within: 518_400, [name]: value }) });
    expect(problemsAt(least)).toEqual([]);
    expect(problemsAt(most)).toEqual([]);
    expect(problemsAt(least - 0.001)).toEqual([expect.stringMatching(/^POLICY\./)]);
    expect(problemsAt(most + 0.001)).toEqual([expect.stringMatching(/^POLICY\./)]);
  });

  it.each(['window', 'pause', 'no_workers_after'])('accepts %s of a breaker from a second to a day', (name) => {
    const problemsAt = (value: number): string[] =>
      problemsOf({ ...good, ENDPOINTS: JSON.stringify({ a: { runpod_id: 'x', breaker: { [name]: value } } }) });
    expect(problemsAt(1)).toEqual([]);
    expect(problemsAt(86_400)).toEqual([]);
    expect(problemsAt(0.999)).toEqual([expect.stringContaining(`ENDPOINTS.a.breaker.${name}: `)]);
    expect(problemsAt(86_401)).toEqual([expect.stringContaining(`ENDPOINTS.a.breaker.${name}: `)]);
  });

  it('accepts http on loopback', () => {
    const read = requireConfig({
      ...good,
      RUNPOD_BASE_URL: 'http://127.0.0.1:9000/v2/',
      R2_S3_ENDPOINT: 'http://localhost:8787/cdn-cgi/local/r2/s3',
    });
    expect(read.runpod.baseUrl).toBe('http://127.0.0.1:9000/v2');
    expect(read.s3.endpoint).toBe('http://localhost:8787/cdn-cgi/local/r2/s3');
  });

  const endpoints = (fallbacks: Record<string, string | undefined>): string =>
    JSON.stringify(
      Object.fromEntries(Object.entries(fallbacks).map(([name, fallback]) => [name, { runpod_id: name, fallback }])),
    );

  it('names every endpoint of a fallback cycle', () => {
    expect(problemsOf({ ...good, ENDPOINTS: endpoints({ a: 'b', b: 'c', c: 'b' }) })).toEqual([
      'ENDPOINTS.b.fallback: leads back to this endpoint',
      'ENDPOINTS.c.fallback: leads back to this endpoint',
    ]);
  });

  it('accepts a chain of fallbacks and follows it', () => {
    const config = requireConfig({ ...good, ENDPOINTS: endpoints({ a: 'b', b: 'c', c: undefined }) });
    expect(fallbacksOf(config.endpoints, 'a')).toEqual(['b', 'c']);
    expect(fallbacksOf(config.endpoints, 'c')).toEqual([]);
  });

  it('names all problems', () => {
    const problems = problemsOf({ ...bindings, BUCKET: undefined as unknown as R2Bucket });
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'BUCKET',
      'PUBLIC_URL',
      'ENDPOINTS',
      'R2_S3_ENDPOINT',
      'TOKEN_SECRET',
      'ADMIN_TOKEN',
      'RUNPOD_API_KEY',
      'R2_ACCESS_KEY_ID',
      'R2_SECRET_ACCESS_KEY',
    ]);
  });

  it.each([
    'https://gw.test',
    'https://gw.test/',
    'http://127.0.0.1:8787',
    'http://[::1]:8787',
    'https://gw.test:8443',
  ])('accepts %s as the public URL, without a trailing slash', (url) => {
    expect(requireConfig({ ...good, PUBLIC_URL: url }).publicUrl).toBe(url.replace(/\/$/, ''));
  });
});
