/**
 * `node local/runpod/main.ts <config.json | JSON text>`, or the same in LOCAL_RUNPOD_CONFIG.
 * Prints one line once it listens, and runs until SIGTERM, SIGINT or SIGHUP. Exit code 1 with one line if it cannot.
 */
import { readFileSync } from 'node:fs';
import { parseConfig, type RunpodConfig } from './config.ts';
import { startRunpod } from './index.ts';

function fail(problem: string): never {
  process.stderr.write(`local/runpod: ${problem}\n`);
  process.exit(1);
}

function readConfig(): RunpodConfig {
  const given = process.argv[2] ?? process.env['LOCAL_RUNPOD_CONFIG'];
  if (given === undefined) {
    fail('give a config file or JSON as the argument or in LOCAL_RUNPOD_CONFIG');
  }
  const parsed = parseConfig(readJson(given));
  if (!parsed.ok) {
    fail(`config: ${parsed.problem}`);
  }
  return parsed.config;
}

function readJson(given: string): unknown {
  try {
    return JSON.parse(given.trimStart().startsWith('{') ? given : readFileSync(given, 'utf8'));
  } catch (error) {
    fail(`config: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const config = readConfig();
const running = await startRunpod(config).catch((error: unknown) => {
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    fail(`port ${config.port} is in use: stop what listens there or set another "port"`);
  }
  throw error;
});

async function end(code: number): Promise<void> {
  await running.close();
  process.exit(code);
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.once(signal, () => void end(0));
}
process.once('uncaughtException', (error) => {
  process.stderr.write(`local/runpod: ${error.stack ?? error.message}\n`);
  void end(1);
});

process.stdout.write(`local/runpod ready ${running.url}\n`);
