import { requireKey } from './auth.ts';
import { registerCreateAsset } from './assets/create.ts';
import { registerCancelJob } from './jobs/cancel.ts';
import { registerDryRun } from './jobs/dry-run.ts';
import { registerEraseJob } from './jobs/erase.ts';
import { registerGetJob } from './jobs/get.ts';
import { registerListJobs } from './jobs/list.ts';
import { registerGetOutput } from './jobs/outputs.ts';
import { registerSubmitJob } from './jobs/submit.ts';
import { registerWatchJob } from './jobs/watch.ts';
import { registerCreateKey } from './keys/create.ts';
import { newV1App } from './v1-app.ts';
import { registerWebhooks } from './webhooks/index.ts';

/** The gateway's own API (docs/api.md). Everything below `use` needs a key; what is above it checks for itself. */
export const v1Door = newV1App();

registerCreateKey(v1Door);

v1Door.use(requireKey);

registerSubmitJob(v1Door);
registerDryRun(v1Door);
registerListJobs(v1Door);
registerGetJob(v1Door);
registerCancelJob(v1Door);
registerEraseJob(v1Door);
registerWatchJob(v1Door);
registerGetOutput(v1Door);
registerCreateAsset(v1Door);
registerWebhooks(v1Door);
