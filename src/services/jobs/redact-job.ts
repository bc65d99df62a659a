import type { JobView } from '../../contract/job.ts';

/** What says what is in a job or what it made; `truncated` names them where they are withheld. */
const WITHHELD = ['outputs', 'error', 'attempts', 'progress', 'metadata', 'resolved', 'usage'] as const;

/**
 * A job for a key that may act on it but not read it (`jobs:write` without `jobs:read`): its id, its state and its times. It keeps the
 * form of a job; `truncated` says what is not shown, so that nobody takes an empty list for "no outputs".
 */
export const withheld = (job: JobView): JobView => ({
  ...job,
  outputs: [],
  error: null,
  attempts: [],
  progress: null,
  metadata: {},
  resolved: { seeds: [], overrides: [], clamped: [] },
  usage: null,
  truncated: [...WITHHELD],
});
