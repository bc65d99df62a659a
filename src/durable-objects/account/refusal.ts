import type { Admission, AdmitRequest, Quota, RefusalCode, Used } from '../../contract/admission.ts';
import type { AccountLimits } from '../../contract/limits.ts';
import { secondsUntilTomorrow } from './budget.ts';
import { secondsLeftInWindow, WINDOW_S } from './rate-limit.ts';

/** `Retry-After` while the queue is full. Jobs finish at any time, so no exact number exists. */
const RETRY_WHEN_FULL_S = 5;

type Refused = Omit<Admission & { kind: 'refused' }, 'quota'>;

/** Submits of the current minute, jobs with a slot, and queued jobs. */
export type Occupancy = { submits: number; active: number; queued: number };

/** What the account's jobs have cost today, and the highest cost of its unfinished jobs. */
export type Costs = { spent: Used; reserved: Used };

/**
 * The limit that one more job would exceed: the rate, then the slots, then the budgets. `costs` is called where a
 * budget is set.
 */
export function refusal(
  { reserve }: Pick<AdmitRequest, 'reserve'>,
  limits: AccountLimits,
  occupancy: Occupancy,
  costs: () => Costs,
  now: number,
): Refused | null {
  if (occupancy.submits >= limits.submits_per_minute) {
    const detail = `An account may submit at most ${limits.submits_per_minute} jobs in ${WINDOW_S} seconds.`;
    return refuse('rate_limited', detail, secondsLeftInWindow(now));
  }
  if (occupancy.active >= limits.jobs_in_flight && occupancy.queued >= limits.max_queued) {
    const detail = `The account already runs ${limits.jobs_in_flight} jobs and queues ${limits.max_queued} more.`;
    return refuse('queue_full', detail, RETRY_WHEN_FULL_S);
  }
  const budgets = [
    { cap: limits.usd_per_day, unit: 'US dollars', per: 1e6, wants: reserve.micro_usd, of: 'micro_usd' },
    { cap: limits.gpu_seconds_per_day, unit: 'GPU seconds', per: 1e3, wants: reserve.gpu_ms, of: 'gpu_ms' },
  ] as const;
  for (const { cap, unit, per, wants, of } of budgets) {
    if (cap === undefined) {
      continue;
    }
    if (wants === null) {
      return refuse(
        'budget_exceeded',
        'The account has a budget, and the endpoint does not have a price to charge to it.',
        secondsUntilTomorrow(now),
      );
    }
    const all = costs();
    const [spent, reserved] = [all.spent[of], all.reserved[of]];
    if (spent + reserved + wants > cap * per) {
      const left = Math.max(0, cap - (spent + reserved) / per);
      const detail = `The daily budget is ${cap} ${unit} (UTC): ${round(left)} are left, and the job may use ${round(wants / per)}.`;
      // A reservation ends with its job; what is spent is spent for the rest of the day.
      return refuse(
        'budget_exceeded',
        detail,
        spent + wants <= cap * per ? RETRY_WHEN_FULL_S : secondsUntilTomorrow(now),
      );
    }
  }
  return null;
}

/** What is left of the limits, as the `RateLimit` headers say it. */
export function quotaOf(limits: AccountLimits, occupancy: Occupancy, now: number): Quota {
  const slots = (name: string, limit: number, used: number) => ({
    name,
    limit,
    window_s: null,
    unit: 'concurrent-requests' as const,
    remaining: Math.max(0, limit - used),
    reset_s: null,
  });
  return [
    {
      name: 'submits',
      limit: limits.submits_per_minute,
      window_s: WINDOW_S,
      unit: 'requests',
      remaining: Math.max(0, limits.submits_per_minute - occupancy.submits),
      reset_s: secondsLeftInWindow(now),
    },
    slots('jobs', limits.jobs_in_flight, occupancy.active),
    slots('queued', limits.max_queued, occupancy.queued),
  ];
}

const refuse = (code: RefusalCode, detail: string, retry_after_s: number): Refused => ({
  kind: 'refused',
  code,
  detail,
  retry_after_s,
});

/** For people: three digits behind the point. */
const round = (amount: number): number => Math.round(amount * 1000) / 1000;
