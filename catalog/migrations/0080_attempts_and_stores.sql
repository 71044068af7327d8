-- An upload that the store cannot put together is tried again, later and later, and then given up.

ALTER TABLE uploads ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0; -- that failed for no fault of what was sent

-- A folder that is not mounted is another one, and no reason to call everything missing.

ALTER TABLE reconcile_run ADD COLUMN store_id TEXT; -- of the folder that was looked through; NULL of a bucket
