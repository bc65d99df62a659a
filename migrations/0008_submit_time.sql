ALTER TABLE jobs ADD COLUMN submit_ms INTEGER;         -- from a checked request to the job being stored; null from before it was measured
