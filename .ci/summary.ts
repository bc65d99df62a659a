import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** `node .ci/summary.ts <folder>`: adds up what vitest and pytest wrote there and prints `N passed, N failed`. */

interface Count {
  passed: number;
  failed: number;
}

const vitestSchema = z.object({
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) })),
});

/** A file that could not even be loaded has no tests; it counts as one that failed. */
function countVitest(text: string): Count {
  const { testResults } = vitestSchema.parse(JSON.parse(text));
  const statuses = testResults.flatMap((file) =>
    file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed')
      ? [...file.assertionResults.map(({ status }) => status), 'failed']
      : file.assertionResults.map(({ status }) => status),
  );
  return {
    passed: statuses.filter((status) => status === 'passed').length,
    failed: statuses.filter((status) => status === 'failed').length,
  };
}

/** The attributes of JUnit's `<testsuite>`: `errors` are tests that broke outside their own body. */
function countJunit(text: string): Count {
  const suite = /<testsuite\b[^>]*>/.exec(text)?.[0] ?? '';
  const attribute = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = attribute('failures') + attribute('errors');
  return { passed: attribute('tests') - failed - attribute('skipped'), failed };
}

const RUNNERS: { name: string; file: string; count: (text: string) => Count }[] = [
  { name: 'vitest', file: 'vitest.json', count: countVitest },
  { name: 'pytest worker-gpu', file: 'pytest-worker-gpu.xml', count: countJunit },
  { name: 'pytest local/comfyui', file: 'pytest-local-comfyui.xml', count: countJunit },
];

const folder = process.argv[2] ?? '.';
const total: Count = { passed: 0, failed: 0 };
for (const { name, file, count } of RUNNERS) {
  const path = join(folder, file);
  if (!existsSync(path)) {
    console.log(`${name}: did not run`);
    process.exitCode = 1;
    continue;
  }
  const { passed, failed } = count(readFileSync(path, 'utf8'));
  console.log(`${name}: ${passed} passed, ${failed} failed`);
  total.passed += passed;
  total.failed += failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
if (total.failed > 0) {
  process.exitCode = 1;
}
