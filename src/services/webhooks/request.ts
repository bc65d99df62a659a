import { z } from 'zod';
import { DEFAULT_EVENT_TYPES, DELIVERY_STATUSES, EVENT_TYPES } from '../../contract/webhook.ts';
import { timestampText } from '../../domain/formats.ts';
import { publicUrl } from '../../domain/net/public-url.ts';
import { isSecret, MAX_SECRET_BYTES, MIN_SECRET_BYTES, SECRET_PATTERN } from '../../domain/webhook/secret.ts';
import type { Fault } from '../../domain/problems.ts';

/** Bodies of the calls about webhooks. Limits: docs/guides/webhooks.md. */

/** Each is one object that every event of the account is offered to. */
export const MAX_WEBHOOKS = 16;
const MAX_DESCRIPTION_CHARS = 200;
/** The old secret signs along for a day unless the caller says otherwise, and never longer than a week. */
const OVERLAP_S = 86_400;
const MAX_OVERLAP_S = 7 * 86_400;

const url = z.string();
const description = z.string().max(MAX_DESCRIPTION_CHARS);
/** The count is looked at before the entries are: a body may hold half a million. */
const events = z
  .array(z.unknown())
  .min(1)
  .max(EVENT_TYPES.length)
  .pipe(z.array(z.enum(EVENT_TYPES)))
  .transform((types) => [...new Set(types)])
  .meta({ items: { type: 'string', enum: [...EVENT_TYPES] } });
const secretForm = `"whsec_" and padded base64 of ${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} random bytes`;
const secret = z
  .string()
  .refine(isSecret, `must be ${secretForm}`)
  .meta({ pattern: SECRET_PATTERN.source, description: secretForm });

/** Body of `POST /v1/webhooks`. */
export const newWebhookSchema = z.strictObject({
  url,
  description: description.default(''),
  events: events.prefault([...DEFAULT_EVENT_TYPES]),
  enabled: z.boolean().default(true),
  /** Made by the gateway unless the owner brings one, as when moving from another sender. */
  secret: secret.optional(),
});

/** Body of `PATCH /v1/webhooks/{id}`. */
export const webhookChangeSchema = z.strictObject({
  url: url.optional(),
  description: description.optional(),
  events: events.optional(),
  enabled: z.boolean().optional(),
});

/** Body of `POST /v1/webhooks/{id}/rotate`. */
export const rotationSchema = z.strictObject({
  secret: secret.optional(),
  /** Seconds that the old secret signs along; 0: it ends now, as after a leak. */
  overlap: z.int().min(0).max(MAX_OVERLAP_S).default(OVERLAP_S),
});

/** Body of `POST /v1/webhooks/{id}/redeliver`. */
export const redeliverySchema = z.strictObject({
  since: timestampText,
  until: timestampText.optional(),
  status: z.enum([...DELIVERY_STATUSES, 'any']).default('failed'),
});

/** Why the gateway does not call this URL, as faults of the body; none for none. */
export function urlFaults(given: string | undefined, gateway: string): Fault[] {
  const allowed = given === undefined ? null : publicUrl(given, gateway);
  return allowed === null || allowed.ok
    ? []
    : [{ pointer: '#/url', code: 'url_not_allowed', detail: `"url" ${allowed.problem}` }];
}
