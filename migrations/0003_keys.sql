-- What a key may do, how long it lives, and its second secret while it is rotated. Lists are JSON; NULL: no restriction.
-- Keys made before this have every scope but `admin`, as keys made without naming scopes do.
ALTER TABLE keys ADD COLUMN scopes TEXT NOT NULL
  DEFAULT '["jobs:*","assets:*","templates:*","webhooks:*","keys:*","usage:read"]';
ALTER TABLE keys ADD COLUMN expires_at INTEGER;
ALTER TABLE keys ADD COLUMN ip_allow TEXT;             -- JSON array of CIDR ranges
ALTER TABLE keys ADD COLUMN endpoints TEXT;            -- JSON array of names
ALTER TABLE keys ADD COLUMN templates TEXT;            -- JSON array of names
ALTER TABLE keys ADD COLUMN nodes TEXT;                -- JSON object: allow, deny
ALTER TABLE keys ADD COLUMN last_used_at INTEGER;      -- written at most once per five minutes
ALTER TABLE keys ADD COLUMN rotated_at INTEGER;
ALTER TABLE keys ADD COLUMN previous_hash TEXT;        -- the secret before `hash`, good until `previous_expires_at`
ALTER TABLE keys ADD COLUMN previous_expires_at INTEGER;
CREATE UNIQUE INDEX keys_by_previous_hash ON keys (previous_hash) WHERE previous_hash IS NOT NULL;

-- Who changed what, and when. Written in the same transaction as the change; nothing removes or changes a line.
CREATE TABLE audit (
  id TEXT PRIMARY KEY,             -- UUID version 7
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,             -- 'key', 'operator' (ADMIN_TOKEN) or 'secret' (whoever held the key that was revoked)
  actor_key TEXT,                  -- id of the key that asked
  action TEXT NOT NULL,            -- 'key.created', ...
  target TEXT NOT NULL,            -- id of what was changed
  request_id TEXT NOT NULL,
  changes TEXT NOT NULL            -- JSON object
);
CREATE INDEX audit_by_account ON audit (account, id DESC);
