import { createApp } from './app.ts';
import { walkFiles } from './core/assets/walk.ts';
import { sweep, sweepOver } from './core/jobs/sweep.ts';
import { sweepKeys } from './core/keys/sweep.ts';
import type { Env } from './env.ts';

export { Account } from './objects/account/object.ts';
export { Endpoint } from './objects/endpoint/object.ts';
export { Job } from './objects/job/object.ts';
export { Webhook } from './objects/webhook/object.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  /**
   * Every few minutes (`wrangler.toml`): wakes jobs whose alarm was lost, looks after files that nobody knows of, and removes old records of
   * keys.
   */
  async scheduled(_controller, env): Promise<void> {
    const now = Date.now();
    await Promise.all([sweep(env, now), sweepOver(env, now), walkFiles(env, now), sweepKeys(env, now)]);
  },
} satisfies ExportedHandler<Env>;
