-- Webhooks: a projection of the Webhook objects, to find those of an account and those that want an event.
-- Secrets, deliveries and attempts live in the objects. Times are ms since the epoch.
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  url TEXT NOT NULL,
  events TEXT NOT NULL,          -- JSON array of event types
  enabled INTEGER NOT NULL,      -- 0 or 1
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL       -- number of the last change; an older projection never overwrites a newer
);
CREATE INDEX webhooks_by_account ON webhooks (account, id DESC);
