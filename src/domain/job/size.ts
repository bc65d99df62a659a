import type { Output } from '../../contract/job.ts';

/**
 * Limits on what a job stores of a worker's data. The whole state is one SQLite row of at most 2 MB
 * (reference/cloudflare.md section 2).
 */

/** The most bytes of outputs, including inline texts. The rest of the row is for everything else. */
const MAX_OUTPUTS_BYTES = 1_500_000;
/** Larger error details are left out. They are stored once per attempt, in the log, and in the projection. */
const MAX_DETAILS_BYTES = 32 * 1024;

/** Whether a job can store a record of these outputs. */
export const outputsFit = (outputs: readonly Output[]): boolean => jsonBytes(outputs) <= MAX_OUTPUTS_BYTES;

export const detailsFit = (details: Record<string, unknown>): boolean => jsonBytes(details) <= MAX_DETAILS_BYTES;

/** The size of a value as JSON in UTF-8, as it is stored and sent. */
export const jsonBytes = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).byteLength;
