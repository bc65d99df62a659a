import type { Admission, AdmitRequest, Quota, RefusalCode, Used } from '../../contract/admission.ts';
import type { AccountLimits } from '../../contract/limits.ts';
import { untilTomorrow } from './budget.ts';
import { windowLeft, WINDOW_S } from './rate-limit.ts';

/** What a client that waits for a place is told: jobs end at any time, so there is no true number. */
const RETRY_WHEN_FULL_S = 5;

type Refused = Omit<Admission & { kind: 'refused' }, 'quota'>;

/** How full an account is: submits of this minute, jobs that have a slot, jobs that wait for one. */
export type Fill = { submits: number; active: number; queued: number };

/** What an account's jobs have cost today, and what those may cost that are not over. */
export type Costs = { spent: Used; reserved: Used };

/** Which limit one more job would pass, if any: the rate, then the places, then the budgets. `costs` is asked where there is a budget. */
export function refusal(
  { reserve }: Pick<AdmitRequest, 'reserve'>,
  limits: AccountLimits,
  fill: Fill,
  costs: () => Costs,
  now: number,
): Refused | null {
  if (fill.submits >= limits.submits_per_minute) {
    const detail = `An account may submit at most ${limits.submits_per_minute} jobs in ${WINDOW_S} seconds.`;
    return refuse('rate_limited', detail, windowLeft(now));
  }
  if (fill.active >= limits.jobs_in_flight && fill.queued >= limits.max_queued) {
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
        untilTomorrow(now),
      );
    }
    const all = costs();
    const [spent, reserved] = [all.spent[of], all.reserved[of]];
    if (spent + reserved + wants > cap * per) {
      const left = Math.max(0, cap - (spent + reserved) / per);
      const detail = `The daily budget is ${cap} ${unit} (UTC): ${round(left)} are left, and the job may use ${round(wants / per)}.`;
      // What is only reserved comes back as jobs end; what is spent does not come back today.
      return refuse('budget_exceeded', detail, spent + wants <= cap * per ? RETRY_WHEN_FULL_S : untilTomorrow(now));
    }
  }
  return null;
}

/** What is left of the limits, as the `RateLimit` headers say it. */
export function quotaOf(limits: AccountLimits, fill: Fill, now: number): Quota {
  const places = (name: string, limit: number, taken: number) => ({
    name,
    limit,
    window_s: null,
    unit: 'concurrent-requests' as const,
    remaining: Math.max(0, limit - taken),
    reset_s: null,
  });
  return [
    {
      name: 'submits',
      limit: limits.submits_per_minute,
      window_s: WINDOW_S,
      unit: 'requests',
      remaining: Math.max(0, limits.submits_per_minute - fill.submits),
      reset_s: windowLeft(now),
    },
    places('jobs', limits.jobs_in_flight, fill.active),
    places('queued', limits.max_queued, fill.queued),
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
