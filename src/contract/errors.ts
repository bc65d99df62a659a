import { ISSUE_ERRORS } from './errors/issues.ts';
import { JOB_ERRORS } from './errors/job.ts';
import { REQUEST_ERRORS } from './errors/request.ts';
import type { ErrorRow } from './errors/row.ts';
export type { ErrorRow, ErrorStatus } from './errors/row.ts';

/**
 * Every error code of the API, in one table. The types, the statuses, the problem pages, docs/reference/errors.md and
 * the lists of the OpenAPI document come from it. To add a code, add a row, and run `npm run docs`.
 */

export { ERROR_SOURCES, JOB_ERRORS, type ErrorSource, type JobErrorRow } from './errors/job.ts';
export { WORKER_ERRORS } from './errors/worker.ts';
export { ISSUE_ERRORS, REQUEST_ERRORS };

/** Codes that a request can be refused with. */
export const ERRORS = { ...REQUEST_ERRORS, ...ISSUE_ERRORS } satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;
export type IssueCode = Exclude<keyof typeof ISSUE_ERRORS, 'invalid_request'>;
export type JobErrorCode = keyof typeof JOB_ERRORS;

const isKeyOf =
  <T extends object>(table: T) =>
  (name: string): name is Extract<keyof T, string> =>
    Object.hasOwn(table, name);

const keysOf = <T extends object>(table: T): Extract<keyof T, string>[] => Object.keys(table).filter(isKeyOf(table));

export const ERROR_CODES: readonly ErrorCode[] = keysOf(ERRORS);
export const JOB_ERROR_CODES: readonly JobErrorCode[] = keysOf(JOB_ERRORS);

/** What a code stands for, the same in every response. */
export const errorOf = (code: ErrorCode): ErrorRow => ERRORS[code];

export const isRetryable = (code: ErrorCode): boolean => errorOf(code).retryable === true;
