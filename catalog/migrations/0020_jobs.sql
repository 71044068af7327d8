-- Several servers may work on the jobs of one catalog: whoever claims a job holds it for a while and
-- has to say again and again that it is still at it.

ALTER TABLE jobs ADD COLUMN claim TEXT;                               -- who holds it: made up anew for each attempt
ALTER TABLE jobs ADD COLUMN lease_until_ms BIGINT NOT NULL DEFAULT 0; -- while running; afterwards anyone may take it
ALTER TABLE jobs ADD COLUMN progress_percent BIGINT;                  -- while running, where it is known
ALTER TABLE jobs ADD COLUMN cut_off BIGINT NOT NULL DEFAULT 0;        -- attempts whose server went away

CREATE INDEX jobs_by_state ON jobs (state, asset_id, kind);

-- There is more to derive than there was, and thumbnails are made in another way.
UPDATE jobs SET state = 'pending', reason = NULL, attempts = 0, not_before_ms = 0
    WHERE kind = 'derive' AND state <> 'running';
