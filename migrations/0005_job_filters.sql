-- What lists of jobs can be narrowed to, each with an index that gives the newest first, and metadata beside what a job used.

-- Id of the API key that submitted it; '' for jobs of before that were not over.
ALTER TABLE jobs ADD COLUMN key TEXT NOT NULL DEFAULT '';
UPDATE jobs SET key = coalesce((SELECT usage.key FROM usage WHERE usage.job = jobs.id), '');
CREATE INDEX jobs_by_account_key ON jobs (account, key, id DESC);
CREATE INDEX jobs_by_account_endpoint ON jobs (account, endpoint, id DESC);

-- The pairs of a job's metadata, to find jobs by. Written with the job's line, removed with it.
CREATE TABLE job_metadata (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  job TEXT NOT NULL,
  PRIMARY KEY (account, name, value, job)
) WITHOUT ROWID;
INSERT INTO job_metadata (account, name, value, job)
  SELECT jobs.account, pair.key, pair.value, jobs.id FROM jobs, json_each(jobs.metadata) AS pair;

-- The job's metadata (JSON object of strings), so that what was used can be charged on; emptied when a client erases the job.
ALTER TABLE usage ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
UPDATE usage SET metadata = (SELECT jobs.metadata FROM jobs WHERE jobs.id = usage.job)
  WHERE job IN (SELECT id FROM jobs);
-- In the order of the export: `job` makes the place of a line certain.
CREATE INDEX usage_by_account_job ON usage (account, completed_at, job);
DROP INDEX usage_by_account;
