import type { ResolvedSeed } from '../../../contract/job.ts';
import type { NewSeed } from '../../../lib/seeds.ts';
import { pointer } from '../../problems.ts';
import type { NodeInput } from '../graph.ts';
import type { WorkingCopy } from './working-copy.ts';
import { SEED_INPUTS } from './numbers.ts';
import { findLiteral, inputsUsing } from './literals.ts';

/** The most random seeds of one job. All of them are reported, and a job's record must stay small. */
export const MAX_RANDOM_SEEDS = 100;

/** Whether a value asks for a random seed: the word "random", or -1 as in other programs. */
export const isRandom = (value: unknown): boolean => value === 'random' || value === -1 || value === '-1';

/** The seed to write into the graph: a random one, or the given one as an integer. */
export const drawn = (value: number | bigint | string, newSeed: NewSeed): number | bigint => {
  const seed = isRandom(value) ? newSeed() : typeof value === 'string' ? BigInt(value) : value;
  return typeof seed === 'bigint' && seed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seed) : seed;
};

/** A seed in a form that JavaScript clients read without rounding. */
export const portable = (seed: number | bigint | string): number | string =>
  typeof seed === 'number' ? seed : String(seed);

/**
 * Draws a random seed for every seed input that asks for one ("random" or -1), and with `all` also for every other seed
 * input that the request did not set. Each input gets its own seed, unless one node feeds several inputs.
 */
export function drawSeeds(copy: WorkingCopy, all: boolean, newSeed: NewSeed): ResolvedSeed[] {
  const users = inputsUsing(copy.graph);
  const drawnAt = new Map<string, NodeInput>();
  for (const [id, node] of Object.entries(copy.graph)) {
    for (const input of SEED_INPUTS.filter((name) => Object.hasOwn(node.inputs, name))) {
      const source = findLiteral(copy.graph, users, { node: id, input }, 'number', SEED_INPUTS);
      if (source !== null && (isRandom(source.value) || (all && !copy.wasSet(source.target)))) {
        drawnAt.set(JSON.stringify([source.target.node, source.target.input]), source.target);
      }
    }
  }
  if (drawnAt.size > MAX_RANDOM_SEEDS) {
    copy.issues.add('out_of_range', () => ({
      pointer: all ? pointer(['options', 'randomize_seeds']) : copy.pointerOf(),
      detail: `A job may have at most ${MAX_RANDOM_SEEDS} random seeds.`,
    }));
    return [];
  }
  return [...drawnAt.values()].map((target) => {
    const value = newSeed();
    copy.set(target, value);
    return { ...target, value, random: true };
  });
}
