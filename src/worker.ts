import { createApp } from './app.ts';
import { walkFiles } from './core/assets/walk.ts';
import { sweep, sweepOver } from './core/jobs/sweep.ts';
import type { Env } from './env.ts';

export { Account } from './objects/account/object.ts';
export { Endpoint } from './objects/endpoint/object.ts';
export { Job } from './objects/job/object.ts';
export { Webhook } from './objects/webhook/object.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  /** Every few minutes (`wrangler.toml`): wakes jobs whose alarm was lost, and looks after files that nobody knows of. */
  async scheduled(_controller, env): Promise<void> {
    await Promise.all([sweep(env, Date.now()), sweepOver(env, Date.now()), walkFiles(env, Date.now())]);
  },
} satisfies ExportedHandler<Env>;
