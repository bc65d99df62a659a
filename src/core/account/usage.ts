import { sumUsage, type UsageRow } from '../../storage/d1/usage.ts';
import type { Caller, Core } from '../context.ts';
import { ok, type Result } from '../result.ts';

const DAY_MS = 86_400_000;

export type UsageGroup = 'day' | 'key';

/** Sums of what the caller's account used, of jobs that ended from the first day to the last, both included (UTC). */
export async function usageOf(
  core: Core,
  caller: Caller,
  { from, to, by }: { from: string; to: string; by: readonly UsageGroup[] },
): Promise<Result<UsageRow[], never>> {
  return ok(await sumUsage(core.env.DB, caller.account, { from: Date.parse(from), to: Date.parse(to) + DAY_MS, by }));
}
