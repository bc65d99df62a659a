import { z } from '@hono/zod-openapi';
import { MAX_WAIT_S } from '../../../services/jobs/wait.ts';
import { wholeNumber } from '../query-fields.ts';

/** When a client that polls had better ask again, in seconds. */
export const POLL_AGAIN_S = 2;

/** Query of what can be waited for: how many seconds an answer may be held. */
export const waitQuery = z.object({ wait: wholeNumber({ min: 0, max: MAX_WAIT_S, default: 0 }) });

export const WAIT_FAULT = `wait takes 0 to ${MAX_WAIT_S} seconds`;
