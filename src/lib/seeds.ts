/** A fresh seed: an integer from 0 to `MAX_RANDOM_SEED`. */
export type NewSeed = () => number;

/**
 * Every seed input accepts this value (nodes that call services often accept no more), and every client holds it
 * exactly.
 */
export const MAX_RANDOM_SEED = 2 ** 31 - 1;

/** Seeds from the platform's generator. */
export const randomSeed: NewSeed = () => (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) & MAX_RANDOM_SEED;
