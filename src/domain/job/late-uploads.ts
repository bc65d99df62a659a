import { UPLOAD_GRACE_MS } from '../../contract/worker.ts';
import { type JobState, workersReport } from './state.ts';

/**
 * The longest duration of a put that began when its URL expired: 32 MiB at 60 kB/s. Larger files are multipart uploads.
 */
const LAST_PUT_MS = 600_000;

/**
 * Until when a worker can put files of the job into R2, in ms. The URLs of a worker that was replaced or lost still
 * work. In the past when no worker ever had URLs.
 */
export const lateUploadsUntil = (state: JobState): number =>
  !workersReport(state) || state.attempts.every(({ claim }) => claim === null)
    ? state.created_at
    : state.deadline + UPLOAD_GRACE_MS + LAST_PUT_MS;
