import type { WebhookView } from '../../contract/webhook.ts';
import { signing } from '../../domain/webhook/secret.ts';
import type { WebhookState } from './store.ts';

/** Characters of a secret that tell it from another. */
const HINT_CHARS = 4;

/** The webhook without its secrets, of which it has the last characters. */
export const viewOf = (state: WebhookState, now: number): WebhookView => ({
  id: state.id,
  account: state.account,
  url: state.url,
  description: state.description,
  events: state.events,
  enabled: state.enabled,
  disabled: state.disabled,
  failing_since: state.health.failing_since,
  held_until: state.health.held_until !== null && now < state.health.held_until ? state.health.held_until : null,
  secrets: signing(state.secrets, now).map(({ secret, created_at, expires_at }) => ({
    hint: secret.slice(-HINT_CHARS),
    created_at,
    expires_at,
  })),
  created_at: state.created_at,
  updated_at: state.updated_at,
});
