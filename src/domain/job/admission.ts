import type { Policy } from '../../contract/limits.ts';

/** An admission outlives the job's deadline by this, then it lapses by itself: a place must never be lost to a crash. */
const SLACK_MS = 120_000;

/** When the account takes a job's place back although nobody released it. Ms since the epoch. */
export const lapsesAt = (deadline: number, policy: Policy): number =>
  deadline + policy.deadline_grace * 1000 + SLACK_MS;
