import type { Quota } from '../../contract/admission.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import type { Caller, Core } from '../context.ts';

/** How long a reading stands in for the truth on answers to requests that use nothing up. */
const FRESH_MS = 2_000;
/** Bounds the memory of an isolate; the oldest entry goes first. */
const ENTRIES = 1000;

const readings = new Map<string, { quota: Quota; at: number }>();

/**
 * What is left of the account's limits. A submit brings a true reading of its own; every other request uses the last one of its
 * isolate, and asks the object when that is older than two seconds: a client that polls costs no object call per poll.
 * Null when the object does not answer: a header is not worth a failed request.
 */
export async function quotaOf(core: Core, caller: Caller): Promise<Quota | null> {
  const known = readings.get(caller.account);
  const now = core.clock();
  if (known !== undefined && now >= known.at && now - known.at < FRESH_MS) {
    return known.quota;
  }
  try {
    const quota = await accountStub(core.env, caller.account).quota();
    remember(caller.account, quota, now);
    return quota;
  } catch {
    return null;
  }
}

/** Keeps a reading for the answers that follow. */
export function remember(account: string, quota: Quota, at: number): void {
  readings.delete(account);
  if (readings.size >= ENTRIES) {
    const oldest = readings.keys().next();
    if (!oldest.done) {
      readings.delete(oldest.value);
    }
  }
  readings.set(account, { quota, at });
}
