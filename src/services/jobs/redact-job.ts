import type { JobView } from '../../contract/job.ts';

/** Fields that reveal a job's content or results. `truncated` names them when they are redacted. */
const REDACTED_FIELDS = ['outputs', 'error', 'attempts', 'progress', 'metadata', 'resolved', 'usage'] as const;

/**
 * Redacts a job for a key with `jobs:write` but not `jobs:read`: only id, status and times remain. `truncated` names
 * the redacted fields, so that a client does not mistake an empty list for "no outputs".
 */
export const redactJob = (job: JobView): JobView => ({
  ...job,
  outputs: [],
  error: null,
  attempts: [],
  progress: null,
  metadata: {},
  resolved: { seeds: [], overrides: [], clamped: [] },
  usage: null,
  truncated: [...REDACTED_FIELDS],
});
