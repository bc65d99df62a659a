/** How a large file is cut into parts. Pure. Sizes in bytes; numbers of parts begin at 1. */

/** What a part has where the client names no size: a cut costs at most this much, and a request for each does not weigh. */
export const PART_BYTES = 16 * 1024 * 1024;
/** Smaller parts cost a request each for little. */
export const MIN_PART_BYTES = 1024 * 1024;
/** Larger ones lose too much when a connection breaks; Workers and proxies take 100 MB (reference/cloudflare.md section 4). */
export const MAX_PART_BYTES = 64 * 1024 * 1024;
/** As many as one list of R2 shows. */
export const MAX_PARTS = 1_000;

type Plan = { size_bytes: number; part_bytes: number };

/** A part's place in the file. */
export type Part = { number: number; offset: number; size_bytes: number };

export const partCount = ({ size_bytes, part_bytes }: Plan): number => Math.ceil(size_bytes / part_bytes);

export function partOf({ size_bytes, part_bytes }: Plan, number: number): Part {
  const offset = (number - 1) * part_bytes;
  return { number, offset, size_bytes: Math.min(part_bytes, size_bytes - offset) };
}

/** The parts that are not there in their full size, in order. `arrived`: sizes by number. */
export function missingParts(plan: Plan, arrived: ReadonlyMap<number, number>): Part[] {
  return Array.from({ length: partCount(plan) }, (_, index) => partOf(plan, index + 1)).filter(
    ({ number, size_bytes }) => arrived.get(number) !== size_bytes,
  );
}
