/**
 * Imports the gateway's entry once per test file.
 *
 * The plugin imports it for every request and every call of a Durable Object, and each import asks Vite, in another
 * process, whether the file has changed. Nothing changes during a test file: a file of 54 tests asked 826 times.
 */

interface ModuleRunner {
  import(path: string): Promise<unknown>;
}

/** Where the plugin finds the module runner of this workerd. */
// oxlint-disable-next-line no-underscore-dangle -- vitest's name
declare const __vitest_mocker__: { moduleRunner: ModuleRunner };

const ENTRY = '/src/index.ts';

// oxlint-disable-next-line no-underscore-dangle -- vitest's name
const { moduleRunner } = __vitest_mocker__;
const importModule = moduleRunner.import.bind(moduleRunner);
let entry: Promise<unknown> | undefined;
moduleRunner.import = (path) => (path.endsWith(ENTRY) ? (entry ??= importModule(path)) : importModule(path));
