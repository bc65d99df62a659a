import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin';
import { Response } from 'miniflare';
import { defineConfig } from 'vitest/config';
import { FailuresReporter } from './test/failures-reporter.ts';
import { testBindings } from './test/gateway-bindings.ts';

// wrangler.jsonc is read once per test file; its notice about a local setting would come as often.
process.env['WRANGLER_LOG'] ??= 'error';

/** A folder for results in a form that programs read; `.ci/run` asks for it. */
const reports = process.env['TEST_REPORTS'];

/** Every processor: vitest keeps one for itself by default, which is half of a small machine. */
const maxWorkers = '100%';

/**
 * Tests of pure rules. They need neither workerd nor a fresh process for each file, which together cost more than most of
 * these tests take. `chunks` is about the platform's own streams, and three tests of providers need R2.
 */
const rules = [
  'src/{contract,domain}/**/*.test.ts',
  'src/providers/**/!(job|providers|text-sinks).test.ts',
  'src/lib/**/!(chunks).test.ts',
  'src/durable-objects/{account/queue,endpoint/waiting,job/pending,shared/rpc-retry}.test.ts',
  'src/routes/http/{csv,file-headers,prefer}.test.ts',
  'src/services/{assets/form,auth/edge-rate-limit}.test.ts',
  'src/storage/r2/{keys,presign}.test.ts',
];

/** Every file loads the whole gateway into a new workerd. Source maps of packages were half of what is sent for that. */
const withoutPackageMaps = {
  name: 'without-package-source-maps',
  load: (id: string) =>
    /\/node_modules\/.*\.m?js$/.test(id)
      ? { code: readFileSync(id, 'utf8').replace(/^\/\/# sourceMappingURL=.*$/m, ''), map: { mappings: '' as const } }
      : undefined,
  transform: (code: string, id: string) =>
    id.includes('/node_modules/') ? { code, map: { mappings: '' as const } } : undefined,
};

/** Three projects: pure rules of the gateway in Node, its other tests inside workerd, everything else in Node. */
export default defineConfig({
  test: {
    // The gateway logs a line per request; they are of interest only where a test failed.
    silent: 'passed-only',
    slowTestThreshold: 10_000,
    reporters: ['default', new FailuresReporter(), ...(reports === undefined ? [] : ['json' as const])],
    ...(reports === undefined ? {} : { outputFile: { json: `${reports}/vitest.json` } }),
    projects: [
      {
        test: {
          name: 'rules',
          include: rules,
          isolate: false,
          maxWorkers,
          pool: 'forks',
          // workerd has `Uint8Array.fromBase64` and its kin; Node 24 has them behind this flag.
          execArgv: ['--js-base-64'],
          testTimeout: 20_000,
        },
      },
      {
        plugins: [
          withoutPackageMaps,
          cloudflareTest(async () => ({
            wrangler: { configPath: './wrangler.jsonc' },
            // workerd tells of each connection that a test cuts on purpose.
            verbose: false,
            miniflare: {
              bindings: { ...testBindings, TEST_MIGRATIONS: await readD1Migrations('migrations') },
              // No test reaches a network: what is not answered by the test itself ends here.
              outboundService: () => new Response('no network in tests', { status: 503 }),
            },
          })),
        ],
        // As in wrangler.jsonc.
        resolve: { alias: [{ find: /^zod$/, replacement: resolve(import.meta.dirname, 'src/lib/zod/index.ts') }] },
        test: {
          name: 'gateway',
          include: ['src/**/*.test.ts'],
          exclude: rules,
          setupFiles: ['src/testing/entry-module.ts', 'src/testing/migrate.ts'],
          // A new workerd for each file. In a shared one, objects and alarms of earlier files go on working: they take
          // half of the time, and answer the mocks of later tests. The plugin's `reset()` ends them, and sometimes workerd.
          isolate: true,
          maxWorkers,
          testTimeout: 20_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'node',
          include: ['local/**/*.test.ts', 'clients/**/*.test.ts', 'test/**/*.test.ts'],
          // Tests here start programs and kill them: a process of their own ends with all they left.
          isolate: true,
          maxWorkers,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          pool: 'forks',
        },
      },
    ],
  },
});
