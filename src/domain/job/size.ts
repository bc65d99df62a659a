import type { Output } from '../../contract/job.ts';

/** What a job can keep of what a worker says: the whole state is a row of a Durable Object's SQLite, 2 MB (reference/cloudflare.md section 2). */

/** Room for outputs, inline texts included; the rest of the row is for everything else. */
const MAX_OUTPUTS_BYTES = 1_500_000;
/** Details of an error above this are left out: they are in the state once per attempt, in the log and in the projection. */
const MAX_DETAILS_BYTES = 32 * 1024;

/** Whether a job can keep a record of these outputs. */
export const outputsFit = (outputs: readonly Output[]): boolean => jsonBytes(outputs) <= MAX_OUTPUTS_BYTES;

export const detailsFit = (details: Record<string, unknown>): boolean => jsonBytes(details) <= MAX_DETAILS_BYTES;

/** Bytes of a value as JSON in UTF-8, as it is stored and sent. */
export const jsonBytes = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).byteLength;
