/**
 * Codes that a call of a worker can be refused with (docs/reference/worker-contract.md). Workers read the code only.
 */
export const WORKER_ERRORS = {
  invalid_token: { status: 401, title: 'The token is not one for this attempt' },
  job_not_found: { status: 404, title: 'The job does not exist' },
  claimed_elsewhere: { status: 409, title: 'Another worker has claimed the attempt' },
  output_missing: { status: 409, title: 'A reported output is not in storage' },
  job_over: { status: 410, title: 'The job has finished' },
  output_too_large: { status: 413, title: 'An output is too large' },
  invalid_request: { status: 422, title: 'The request is invalid' },
  rate_limited: { status: 429, title: 'Too many requests' },
} as const;

export type WorkerErrorCode = keyof typeof WORKER_ERRORS;
