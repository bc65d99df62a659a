import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';
import { testBindings } from './test/gateway-bindings.ts';

/** A folder for results in a form that programs read; `.ci/run` asks for it. */
const reports = process.env['TEST_REPORTS'];

/** Two projects: the gateway's own tests run inside workerd, everything else in Node. */
export default defineConfig({
  test: {
    ...(reports === undefined
      ? {}
      : { reporters: ['default', 'json'], outputFile: { json: `${reports}/vitest.json` } }),
    projects: [
      {
        plugins: [
          cloudflareTest({ wrangler: { configPath: './wrangler.toml' }, miniflare: { bindings: testBindings } }),
        ],
        test: { name: 'gateway', include: ['src/**/*.test.ts'], testTimeout: 20_000, hookTimeout: 30_000 },
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
