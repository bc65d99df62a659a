import type { Config } from '../../../config/schema.ts';
import { signToken } from '../../tokens.ts';
import type { RunRequest } from '../provider.ts';
import type { RunpodRequest } from './client.ts';

/** How long tokens outlive the deadline. A worker may retry its report for 120 s after it. */
const TOKEN_GRACE_MS = 180_000;

/** When the tokens of a job's run expire, in ms since the epoch. */
export const tokensExpireAt = ({ deadline }: Pick<RunRequest, 'deadline'>): number => deadline + TOKEN_GRACE_MS;

/** The URL that RunPod calls when a run finishes. */
export async function webhookUrl(
  run: RunRequest,
  { publicUrl, tokenSecret }: Config,
): Promise<RunpodRequest['webhook']> {
  const { job, attempt } = run;
  const token = await signToken(tokenSecret, { purpose: 'webhook', job, attempt }, tokensExpireAt(run));
  return `${publicUrl}/hooks/runpod/${job}/${attempt}?token=${token}`;
}
