import type { Config } from '../../../config/schema.ts';
import { signToken } from '../../tokens.ts';
import type { RunRequest } from '../provider.ts';
import type { RunpodRequest } from './client.ts';

/** How long tokens outlive the deadline: a worker may repeat its report for 120 s after it. */
const TOKEN_GRACE_MS = 180_000;

/** When the tokens of a job's run end. */
export const tokensEnd = ({ deadline }: Pick<RunRequest, 'deadline'>): number => deadline + TOKEN_GRACE_MS;

/** Where RunPod says that a run is over. */
export async function webhookOf(
  run: RunRequest,
  { publicUrl, tokenSecret }: Config,
): Promise<RunpodRequest['webhook']> {
  const { job, attempt } = run;
  const token = await signToken(tokenSecret, { purpose: 'webhook', job, attempt }, tokensEnd(run));
  return `${publicUrl}/hooks/runpod/${job}/${attempt}?token=${token}`;
}
