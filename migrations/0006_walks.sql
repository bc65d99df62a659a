-- Where a walk over R2 goes on with its next run. Written and read by the scheduled sweep only.
CREATE TABLE walks (
  name TEXT PRIMARY KEY,
  cursor TEXT                    -- R2's; null: from the beginning
);
