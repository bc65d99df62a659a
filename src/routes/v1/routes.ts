import { limitRoutes } from './account/limits.ts';
import { usageRoutes } from './account/usage.ts';
import { createAssetRoutes } from './assets/create.ts';
import { assetRoutes } from './assets/manage.ts';
import { uploadRoutes } from './assets/uploads.ts';
import { auditRoutes } from './audit/list.ts';
import { endpointRoutes } from './endpoints/endpoints.ts';
import { batchRoutes } from './jobs/batch.ts';
import { cancelRoutes } from './jobs/cancel.ts';
import { dryRunRoutes } from './jobs/dry-run.ts';
import { eraseRoutes } from './jobs/erase.ts';
import { getRoutes } from './jobs/get.ts';
import { listRoutes } from './jobs/list.ts';
import { outputRoutes } from './jobs/outputs.ts';
import { resultRoutes } from './jobs/result.ts';
import { submitRoutes } from './jobs/submit.ts';
import { tokenRoutes } from './jobs/tokens.ts';
import { watchRoutes } from './jobs/watch.ts';
import { changeKeyRoutes } from './keys/change.ts';
import { createKeyRoutes } from './keys/create.ts';
import { readKeyRoutes } from './keys/read.ts';
import { revokeKeyRoutes } from './keys/revoke.ts';
import { metricsRoutes } from './metrics.ts';
import type { Route } from './route.ts';
import { changeWebhookRoutes } from './webhooks/change.ts';
import { createWebhookRoutes } from './webhooks/create.ts';
import { deliveryRoutes } from './webhooks/deliveries.ts';
import { readWebhookRoutes } from './webhooks/read.ts';

/** Every route of v1, in the order of the OpenAPI document. A file with routes is named here once. */
export const ROUTES: readonly Route[] = [
  ...submitRoutes,
  ...batchRoutes,
  ...dryRunRoutes,
  ...listRoutes,
  ...getRoutes,
  ...resultRoutes,
  ...cancelRoutes,
  ...eraseRoutes,
  ...watchRoutes,
  ...outputRoutes,
  ...tokenRoutes,
  ...createAssetRoutes,
  ...assetRoutes,
  ...uploadRoutes,
  ...createKeyRoutes,
  ...revokeKeyRoutes,
  ...readKeyRoutes,
  ...changeKeyRoutes,
  ...auditRoutes,
  ...createWebhookRoutes,
  ...readWebhookRoutes,
  ...changeWebhookRoutes,
  ...deliveryRoutes,
  ...limitRoutes,
  ...usageRoutes,
  ...endpointRoutes,
  ...metricsRoutes,
];
