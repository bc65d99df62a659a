import { createApp } from './app.ts';
import { sweep } from './core/jobs/sweep.ts';
import type { Env } from './env.ts';

export { Account } from './objects/account/object.ts';
export { Endpoint } from './objects/endpoint/object.ts';
export { Job } from './objects/job/object.ts';
export { Webhook } from './objects/webhook/object.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  /** Every few minutes (`wrangler.toml`): wakes jobs whose alarm was lost. */
  async scheduled(_controller, env): Promise<void> {
    await sweep(env, Date.now());
  },
} satisfies ExportedHandler<Env>;
