-- What every job used, one line each, for usage by day and key. Stays when the job is erased. Times are ms since the epoch.
CREATE TABLE usage (
  job TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  key TEXT NOT NULL,             -- id of the API key that submitted it
  endpoint TEXT NOT NULL,
  status TEXT NOT NULL,
  completed_at INTEGER NOT NULL,
  gpu_ms INTEGER NOT NULL,       -- time on a GPU that is charged
  micro_usd INTEGER              -- millionths of a US dollar; null where the endpoint has no price
);
CREATE INDEX usage_by_account ON usage (account, completed_at);
