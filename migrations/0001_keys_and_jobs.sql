-- API keys. The secret itself is never stored: `hash` is SHA-256 of the whole key, lower-case hex.
CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  environment TEXT NOT NULL CHECK (environment IN ('live', 'test')),
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  hint TEXT NOT NULL,            -- last four characters, for display
  created_at INTEGER NOT NULL,   -- ms since the epoch, as all times here
  revoked_at INTEGER
);
CREATE INDEX keys_by_account ON keys (account);

-- A projection of the Job objects for listing and for the sweeper. Written by the Job object only; never read to decide
-- what a job does next.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  completed_at INTEGER,
  deadline INTEGER NOT NULL,
  error TEXT,                    -- JSON JobError
  metadata TEXT NOT NULL,        -- JSON object of strings
  version INTEGER NOT NULL       -- number of the job's last event; an older projection never overwrites a newer
);
CREATE INDEX jobs_by_account ON jobs (account, id DESC);
CREATE INDEX jobs_by_account_status ON jobs (account, status, id DESC);
CREATE INDEX jobs_unfinished ON jobs (deadline) WHERE status IN ('queued', 'running', 'canceling');
