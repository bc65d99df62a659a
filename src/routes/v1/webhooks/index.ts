import type { V1App } from '../v1-app.ts';
import { registerChangeWebhook } from './change.ts';
import { registerCreateWebhook } from './create.ts';
import { registerReadDeliveries, registerSendDeliveries } from './deliveries.ts';
import { registerReadWebhooks } from './read.ts';

/** All routes about webhooks (docs/guides/webhooks.md). */
export function registerWebhooks(app: V1App): void {
  registerCreateWebhook(app);
  registerReadWebhooks(app);
  registerChangeWebhook(app);
  registerReadDeliveries(app);
  registerSendDeliveries(app);
}
