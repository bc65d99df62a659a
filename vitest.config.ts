import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin';
import { Response } from 'miniflare';
import { defineConfig } from 'vitest/config';
import { testBindings } from './test/gateway-bindings.ts';

/** A folder for results in a form that programs read; `.ci/run` asks for it. */
const reports = process.env['TEST_REPORTS'];

/** Tests of pure rules: they need neither the platform nor a fresh process for each file. */
const rules = ['src/{contract,domain/{endpoint,job,net,workflow}}/**/*.test.ts'];

/** Three projects: pure rules of the gateway in Node, its other tests inside workerd, everything else in Node. */
export default defineConfig({
  test: {
    // The gateway logs a line per request; they are of interest only where a test failed.
    silent: 'passed-only',
    ...(reports === undefined
      ? {}
      : { reporters: ['default', 'json'], outputFile: { json: `${reports}/vitest.json` } }),
    projects: [
      {
        test: {
          name: 'rules',
          include: rules,
          isolate: false,
          testTimeout: 20_000,
        },
      },
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: './wrangler.toml' },
            miniflare: {
              bindings: { ...testBindings, TEST_MIGRATIONS: await readD1Migrations('migrations') },
              // No test reaches a network: what is not answered by the test itself ends here.
              outboundService: () => new Response('no network in tests', { status: 503 }),
            },
          })),
        ],
        test: {
          name: 'gateway',
          include: ['src/**/*.test.ts'],
          exclude: rules,
          setupFiles: ['src/testing/migrate.ts'],
          testTimeout: 20_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'node',
          include: ['local/**/*.test.ts', 'clients/**/*.test.ts', 'test/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          pool: 'forks',
        },
      },
    ],
  },
});
