import { UPLOAD_GRACE_MS } from '../../contract/worker.ts';
import { type JobState, workersReport } from './state.ts';

/** The longest that one put lasts which began with a URL's last moment: 32 MiB at 60 kB/s. Larger files go up in parts, which the gateway joins. */
const LAST_PUT_MS = 600_000;

/**
 * Until when a worker can put files of the job into R2, in ms: one that was sent away, or was taken for dead, has URLs that work
 * for all that. In the past where no worker ever had any.
 */
export const filesArriveUntil = (state: JobState): number =>
  !workersReport(state) || state.attempts.every(({ claim }) => claim === null)
    ? state.created_at
    : state.deadline + UPLOAD_GRACE_MS + LAST_PUT_MS;
