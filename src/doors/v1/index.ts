import { registerLimits } from './account/limits.ts';
import { registerUsage } from './account/usage.ts';
import { authorize } from './auth.ts';
import { registerListAudit } from './audit/list.ts';
import { registerCreateAsset } from './assets/create.ts';
import { registerManageAssets } from './assets/manage.ts';
import { registerUploads } from './assets/uploads.ts';
import { registerCancelJob } from './jobs/cancel.ts';
import { registerDryRun } from './jobs/dry-run.ts';
import { registerEraseJob } from './jobs/erase.ts';
import { registerGetJob } from './jobs/get.ts';
import { registerListJobs } from './jobs/list.ts';
import { registerGetOutput } from './jobs/outputs.ts';
import { registerGetResult } from './jobs/result.ts';
import { registerSubmitJob } from './jobs/submit.ts';
import { registerWatchJob } from './jobs/watch.ts';
import { registerCreateReadToken } from './jobs/tokens.ts';
import { registerEndpoints } from './endpoints/index.ts';
import { registerKeys } from './keys/index.ts';
import { rateLimitHeaders } from './rate-limit.ts';
import { newV1App } from './v1-app.ts';
import { registerWebhooks } from './webhooks/index.ts';

/** The gateway's own API (docs/api.md). What each route needs is in `route-access.ts`. */
export const v1Door = newV1App();

v1Door.use(authorize);
v1Door.use(rateLimitHeaders);

registerSubmitJob(v1Door);
registerDryRun(v1Door);
registerListJobs(v1Door);
registerGetJob(v1Door);
registerGetResult(v1Door);
registerCancelJob(v1Door);
registerEraseJob(v1Door);
registerWatchJob(v1Door);
registerGetOutput(v1Door);
registerCreateReadToken(v1Door);
registerCreateAsset(v1Door);
registerManageAssets(v1Door);
registerUploads(v1Door);
registerKeys(v1Door);
registerListAudit(v1Door);
registerWebhooks(v1Door);
registerLimits(v1Door);
registerUsage(v1Door);
registerEndpoints(v1Door);
