import type { Policy } from '../../contract/limits.ts';

/**
 * An admission expires by itself this long after the job's deadline, so that a crash never blocks a slot permanently.
 */
const SLACK_MS = 120_000;

/** When the account takes back a job's slot that was never released. Ms since the epoch. */
export const admissionExpiresAt = (deadline: number, policy: Policy): number =>
  deadline + policy.deadline_grace * 1000 + SLACK_MS;
