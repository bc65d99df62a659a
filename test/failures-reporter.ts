import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Prints one line per failure after everything else: what to open, which test, and the first line of its error. */
export class FailuresReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines = modules.flatMap((module) => [
      ...module.errors().map(({ message }) => line(pathOf(module), 'the file', message)),
      ...[...module.children.allTests('failed')].map(describeFailure),
    ]);
    if (lines.length > 0) {
      console.log([`${lines.length} failed:`, ...lines, ''].join('\n'));
    }
  }
}

function describeFailure(test: TestCase): string {
  const [error] = test.result().errors ?? [];
  const frame = error?.stacks?.find(({ file }) => file === test.module.moduleId);
  const at = frame?.line ?? test.location?.line;
  return line(`${pathOf(test.module)}${at === undefined ? '' : `:${at}`}`, test.fullName, error?.message ?? '');
}

const pathOf = ({ moduleId }: TestModule): string => relative(process.cwd(), moduleId);

const line = (path: string, what: string, message: string): string =>
  `  ${path}  ${what}: ${message.split('\n', 1)[0] ?? ''}`;
