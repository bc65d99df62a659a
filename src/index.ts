import { createApp } from './app.ts';
import { sweepFiles } from './services/maintenance/sweep-files.ts';
import { sweepUnfinishedJobs, sweepFinishedJobs } from './services/maintenance/sweep-jobs.ts';
import { sweepKeys } from './services/maintenance/sweep-keys.ts';
import type { Env } from './env.ts';

export { Account } from './durable-objects/account/object.ts';
export { Endpoint } from './durable-objects/endpoint/object.ts';
export { Job } from './durable-objects/job/object.ts';
export { Webhook } from './durable-objects/webhook/object.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  /**
   * Every few minutes (`wrangler.jsonc`): wakes jobs whose alarm was lost, finds unrecorded assets and
   * abandoned uploads, and removes old records of keys.
   */
  async scheduled(_controller, env): Promise<void> {
    const now = Date.now();
    await Promise.all([
      sweepUnfinishedJobs(env, now),
      sweepFinishedJobs(env, now),
      sweepFiles(env, now),
      sweepKeys(env, now),
    ]);
  },
} satisfies ExportedHandler<Env>;
