import { isFinal } from '../../../clients/sdk/index.ts';
import { type Platform, startPlatform } from '../platform.ts';

/** The one platform of all tests in this folder (`../shared.test.ts`). */
export let platform: Platform;

export async function startSharedPlatform(): Promise<void> {
  platform = await startPlatform();
}

/** Cancels what a failed test left in the queue, so that the next test finds the worker idle. */
export async function cancelUnfinishedJobs(): Promise<void> {
  const { data } = await platform.edge.jobs.list({ limit: 20 });
  await Promise.all(data.filter(({ status }) => !isFinal(status)).map(({ id }) => platform.edge.jobs.cancel(id)));
}
