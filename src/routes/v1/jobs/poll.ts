import { z } from '@hono/zod-openapi';
import { MAX_WAIT_S } from '../../../services/jobs/wait.ts';
import { wholeNumber } from '../query-fields.ts';

/** `Retry-After` of a job that has not finished, in seconds. */
export const POLL_INTERVAL_S = 2;

/** Query of routes that can wait: the seconds for which the response may be held. */
export const waitQuery = z.object({ wait: wholeNumber({ min: 0, max: MAX_WAIT_S, default: 0 }) });
