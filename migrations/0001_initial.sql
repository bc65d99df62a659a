-- The tables of D1. All times are ms since the epoch. docs/reference/storage.md says who writes and reads each table.
-- A written row, in an index too, is most of the cost of D1. So tables that are read by their primary key have no rowid, and jobs
-- are indexed by status only when they have finished.

-- API keys: permissions, expiry, and the previous secret during its grace period. A secret itself is never stored: `hash` is SHA-256 of
-- the whole key in lower-case hex. Lists are JSON; NULL: no restriction.
CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  environment TEXT NOT NULL CHECK (environment IN ('live', 'test')),
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  hint TEXT NOT NULL,            -- last four characters, for display
  scopes TEXT NOT NULL           -- JSON array
    DEFAULT '["jobs:*","assets:*","templates:*","webhooks:*","keys:*","usage:read"]',
  ip_allow TEXT,                 -- JSON array of CIDR ranges
  endpoints TEXT,                -- JSON array of names
  templates TEXT,                -- JSON array of names
  nodes TEXT,                    -- JSON object: allow, deny
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER,          -- written at most once per five minutes
  rotated_at INTEGER,
  previous_hash TEXT,            -- the secret before `hash`, valid until `previous_expires_at`
  previous_expires_at INTEGER
);
CREATE INDEX keys_by_account ON keys (account);
CREATE UNIQUE INDEX keys_by_previous_hash ON keys (previous_hash) WHERE previous_hash IS NOT NULL;

-- Who changed what, and when. An entry is written in the same transaction as its change, and never changed.
CREATE TABLE audit (
  id TEXT PRIMARY KEY,           -- UUIDv7
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,           -- 'key', 'operator' (ADMIN_TOKEN), or 'secret' (a call that presented the revoked key's secret)
  actor_key TEXT,                -- id of the calling key
  action TEXT NOT NULL,          -- 'key.created', ...
  target TEXT NOT NULL,          -- id of the changed resource
  request_id TEXT NOT NULL,
  changes TEXT NOT NULL          -- JSON object
);
CREATE INDEX audit_by_account ON audit (account, id DESC);

-- A projection of the Job objects for lists and for the sweep. Only the Job object writes it, and nothing reads it to decide what a job
-- does next.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  key TEXT NOT NULL DEFAULT '',  -- id of the API key that submitted the job
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  completed_at INTEGER,          -- NULL exactly while the job is unfinished
  deadline INTEGER NOT NULL,
  submit_ms INTEGER,             -- time from the checked request to the stored job
  error TEXT,                    -- JSON JobError
  metadata TEXT NOT NULL,        -- JSON object of strings
  version INTEGER NOT NULL       -- number of the job's last event; an older projection never overwrites a newer one
) WITHOUT ROWID;
CREATE INDEX jobs_by_account ON jobs (account, id DESC);
CREATE INDEX jobs_by_account_key ON jobs (account, key, id DESC);
CREATE INDEX jobs_by_account_endpoint ON jobs (account, endpoint, id DESC);
CREATE INDEX jobs_by_account_unfinished ON jobs (account, id DESC) WHERE completed_at IS NULL;
CREATE INDEX jobs_by_account_finished ON jobs (account, status, id DESC) WHERE completed_at IS NOT NULL;

-- The metadata pairs of jobs, for the filter of lists. Written and removed with the job's row.
CREATE TABLE job_metadata (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  job TEXT NOT NULL,
  PRIMARY KEY (account, name, value, job)
) WITHOUT ROWID;

-- The usage of each finished job, for sums by day and key and for exports. Kept when the job is erased.
CREATE TABLE usage (
  job TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  key TEXT NOT NULL,             -- id of the API key that submitted the job
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  completed_at INTEGER NOT NULL,
  gpu_ms INTEGER NOT NULL,       -- charged GPU time
  micro_usd INTEGER,             -- millionths of a US dollar; NULL when the endpoint has no price
  metadata TEXT NOT NULL DEFAULT '{}' -- JSON object of strings; emptied when a client erases the job
) WITHOUT ROWID;
CREATE INDEX usage_by_account_job ON usage (account, completed_at, job);

-- A projection of the Webhook objects, to find the webhooks of an account and those that receive an event. Secrets, deliveries and
-- attempts are in the objects.
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  url TEXT NOT NULL,
  events TEXT NOT NULL,          -- JSON array of event types
  enabled INTEGER NOT NULL,      -- 0 or 1
  created_at INTEGER NOT NULL,
  failing_since INTEGER,         -- start of the current failure; NULL while deliveries succeed
  version INTEGER NOT NULL       -- number of the last change; an older projection never overwrites a newer one
);
CREATE INDEX webhooks_by_account ON webhooks (account, id DESC);
CREATE INDEX webhooks_failing ON webhooks (failing_since) WHERE failing_since IS NOT NULL;

-- Where each sweep continues with its next run. Only the scheduled sweep reads and writes it.
CREATE TABLE sweep_cursors (
  name TEXT PRIMARY KEY,
  cursor TEXT                    -- R2's cursor, or the last job's id; NULL: from the beginning
);
