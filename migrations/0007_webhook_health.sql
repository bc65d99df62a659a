-- Since when a webhook's receiver has not taken what was sent; NULL while it does. For the operator's metrics alone.
ALTER TABLE webhooks ADD COLUMN failing_since INTEGER;
CREATE INDEX webhooks_failing ON webhooks (failing_since) WHERE failing_since IS NOT NULL;
