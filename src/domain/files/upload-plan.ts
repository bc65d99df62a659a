/** Splits a large file into parts. Sizes are in bytes; part numbers begin at 1. */

/** The default part size: a broken connection loses at most this much, and the number of requests stays small. */
export const PART_BYTES = 16 * 1024 * 1024;
/** Smaller parts would need too many requests. */
export const MIN_PART_BYTES = 1024 * 1024;
/**
 * Larger parts lose too much on a broken connection. Workers and proxies accept 100 MB (reference/cloudflare.md section
 * 4).
 */
export const MAX_PART_BYTES = 64 * 1024 * 1024;
/** The number of parts that one R2 list call returns. */
export const MAX_PARTS = 1_000;

type Plan = { size_bytes: number; part_bytes: number };

/** A part and its position in the file. */
export type Part = { number: number; offset: number; size_bytes: number };

export const partCount = ({ size_bytes, part_bytes }: Plan): number => Math.ceil(size_bytes / part_bytes);

export function partOf({ size_bytes, part_bytes }: Plan, number: number): Part {
  const offset = (number - 1) * part_bytes;
  return { number, offset, size_bytes: Math.min(part_bytes, size_bytes - offset) };
}

/** Returns the parts that are missing or incomplete, in order. `arrived`: sizes by part number. */
export function missingParts(plan: Plan, arrived: ReadonlyMap<number, number>): Part[] {
  return Array.from({ length: partCount(plan) }, (_, index) => partOf(plan, index + 1)).filter(
    ({ number, size_bytes }) => arrived.get(number) !== size_bytes,
  );
}
