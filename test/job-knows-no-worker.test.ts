import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const src = resolve(import.meta.dirname, '..', 'src');
const FOLDERS = ['domain/job', 'durable-objects/job'];

/**
 * What only a provider knows: which worker runs on an endpoint, its polled runs, and how its files travel. `data_base64`, of
 * the worker contract, is the name of a field.
 */
const OF_A_PROVIDER = /worker-?comfyui|polled[ -]?run|(?<!data_)base64|gpu\/(?:runpod|worker-comfyui)\//i;

const linesOf = (folder: string): string[] =>
  readdirSync(join(src, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const path = `${folder}/${file}`;
      return [path, ...readFileSync(join(src, path), 'utf8').split('\n')].map((line) => `${path}: ${line}`);
    });

it.each(FOLDERS)('%s names nothing that only one provider of GPUs knows', (folder) => {
  const lines = linesOf(folder);
  expect(lines.length).toBeGreaterThan(1_000);
  expect(lines.filter((line) => OF_A_PROVIDER.test(line))).toEqual([]);
});

it('the provider of worker-comfyui is where such words are', () => {
  expect(linesOf('providers/gpu/worker-comfyui').some((line) => OF_A_PROVIDER.test(line))).toBe(true);
});
