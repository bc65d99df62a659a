import { isTerminal, type JobView } from '../contract/job.ts';
import { uuidV7 } from '../lib/ids.ts';

/** Ids of one millisecond, in the order of their creation. */
export const newId = uuidV7(() => 1_700_000_000_000);

/** A job as D1 stores it, with defaults for the fields that a test does not name. */
export const viewOfJob = (given: Partial<JobView> & { account: string }): JobView => ({
  id: newId(),
  endpoint: 'default',
  status: 'queued',
  stage: 'admission',
  created_at: 1,
  started_at: null,
  completed_at: given.status !== undefined && isTerminal(given.status) ? 2 : null,
  deadline: 1000,
  expires_at: 2000,
  progress: null,
  outputs: [],
  error: null,
  attempts: [],
  key: 'key-1',
  start_deadline: null,
  queue_position: null,
  resolved: { seeds: [], overrides: [], clamped: [] },
  metadata: {},
  usage: null,
  metrics: { queue_ms: null, cold_start_ms: null, execution_ms: null, upload_ms: null, total_ms: null },
  last_event: 1,
  ...given,
});
