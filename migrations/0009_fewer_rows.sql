-- A row written, in an index too, is most of what D1 costs: fewer of them for each job. Tables are ordered by their key instead of
-- having an index of it beside them; a job is indexed by its status only once it has its last one, and those that are not over have an
-- index of their own, which a change of status does not touch.
CREATE TABLE jobs_by_id (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  completed_at INTEGER,          -- NULL exactly while the job is not over
  deadline INTEGER NOT NULL,
  error TEXT,                    -- JSON JobError
  metadata TEXT NOT NULL,        -- JSON object of strings
  version INTEGER NOT NULL,      -- number of the job's last event; an older projection never overwrites a newer
  key TEXT NOT NULL DEFAULT '',  -- id of the API key that submitted it; '' for jobs of before that was kept
  submit_ms INTEGER              -- from a checked request to the job being stored; NULL from before it was measured
) WITHOUT ROWID;
INSERT INTO jobs_by_id (id, account, endpoint, status, created_at, started_at, completed_at, deadline, error, metadata, version, key, submit_ms)
  SELECT id, account, endpoint, status, created_at, started_at,
    CASE WHEN status IN ('queued', 'running', 'canceling') THEN NULL ELSE coalesce(completed_at, deadline) END,
    deadline, error, metadata, version, key, submit_ms
  FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_by_id RENAME TO jobs;
CREATE INDEX jobs_by_account ON jobs (account, id DESC);
CREATE INDEX jobs_by_account_key ON jobs (account, key, id DESC);
CREATE INDEX jobs_by_account_endpoint ON jobs (account, endpoint, id DESC);
CREATE INDEX jobs_by_account_unfinished ON jobs (account, id DESC) WHERE completed_at IS NULL;
CREATE INDEX jobs_by_account_finished ON jobs (account, status, id DESC) WHERE completed_at IS NOT NULL;

CREATE TABLE usage_by_job (
  job TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  key TEXT NOT NULL,             -- id of the API key that submitted it
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  completed_at INTEGER NOT NULL,
  gpu_ms INTEGER NOT NULL,       -- time on a GPU that is charged
  micro_usd INTEGER,             -- millionths of a US dollar; NULL where the endpoint has no price
  metadata TEXT NOT NULL DEFAULT '{}' -- JSON object of strings; emptied when a client erases the job
) WITHOUT ROWID;
INSERT INTO usage_by_job (job, account, key, endpoint, status, completed_at, gpu_ms, micro_usd, metadata)
  SELECT job, account, key, endpoint, status, completed_at, gpu_ms, micro_usd, metadata FROM usage;
DROP TABLE usage;
ALTER TABLE usage_by_job RENAME TO usage;
CREATE INDEX usage_by_account_job ON usage (account, completed_at, job);
