import type { DeliveryView, WebhookView } from '../../../contract/webhook.ts';
import { iso, isoOrNull } from '../../../lib/time.ts';
import type { ApiDelivery, ApiDeliverySummary, ApiWebhook } from './schemas.ts';

export const renderWebhook = (webhook: WebhookView): ApiWebhook => ({
  id: webhook.id,
  object: 'webhook',
  url: webhook.url,
  description: webhook.description,
  events: webhook.events,
  enabled: webhook.enabled,
  disabled: webhook.disabled === null ? null : { ...webhook.disabled, at: iso(webhook.disabled.at) },
  failing_since: isoOrNull(webhook.failing_since),
  held_until: isoOrNull(webhook.held_until),
  secrets: webhook.secrets.map(({ hint, created_at, expires_at }) => ({
    hint,
    created_at: iso(created_at),
    expires_at: isoOrNull(expires_at),
  })),
  created_at: iso(webhook.created_at),
  updated_at: iso(webhook.updated_at),
});

export const renderDeliverySummary = (delivery: DeliveryView): ApiDeliverySummary => ({
  id: delivery.id,
  object: 'webhook_delivery',
  type: delivery.type,
  job: delivery.job,
  status: delivery.status,
  created_at: iso(delivery.created_at),
  next_attempt_at: isoOrNull(delivery.next_attempt_at),
  attempts: delivery.attempts.map((attempt) => ({ ...attempt, at: iso(attempt.at) })),
});

export const renderDelivery = (delivery: DeliveryView): ApiDelivery => ({
  ...renderDeliverySummary(delivery),
  body: delivery.body,
});
