import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { RunpodOptions } from '../index.ts';

/** The environment `local/python` makes; it holds the real `runpod` SDK. */
export const PYTHON = resolve(import.meta.dirname, '../../../.venv/bin/python');

const HANDLER = resolve(import.meta.dirname, '../test-worker/handler.py');

type EndpointOptions = RunpodOptions['endpoints'][number];

/** Settings of one endpoint with real workers. */
export interface RealWorkers extends Omit<EndpointOptions, 'id' | 'workers'> {
  workers?: Partial<EndpointOptions['workers']>;
  /** The handler is a generator. */
  generator?: boolean;
  /** Jobs that one worker runs at once. */
  concurrency?: number;
}

/** The notes of the handlers of one folder, and the folder of the workers' logs. */
export interface Notes {
  /** `word` of each line about a job, in order. */
  about(job: string): string[];
  folder: string;
  remove(): void;
}

export function newNotes(): Notes {
  const folder = mkdtempSync(join(tmpdir(), 'local-runpod-'));
  return {
    folder,
    about: (job) =>
      readFileSync(join(folder, 'notes'), 'utf8')
        .split('\n')
        .filter((line) => line.endsWith(` ${job}`))
        .map((line) => line.replace(` ${job}`, '')),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Endpoints whose workers are the unmodified PyPI `runpod` SDK in its production loop, with `test-worker/handler.py`. */
export function realWorkers(notes: Notes, endpoints: Record<string, RealWorkers>): RunpodOptions {
  return {
    port: 0,
    api_keys: ['test-key'],
    log_dir: notes.folder,
    endpoints: Object.entries(endpoints).map(([id, { workers, generator, concurrency, ...rest }]) => {
      const env = {
        TEST_WORKER_LOG: join(notes.folder, 'notes'),
        TEST_WORKER_KIND: generator === true ? 'generator' : 'handler',
        TEST_WORKER_CONCURRENCY: String(concurrency ?? 1),
      };
      return { id, ...rest, workers: { max: 1, idle_timeout_s: 60, command: [PYTHON, HANDLER], env, ...workers } };
    }),
  };
}
