-- Uploads in parts. The parts themselves, and which have arrived, only the blob store knows.
-- Times are Unix milliseconds.

CREATE TABLE uploads (
    id              TEXT   NOT NULL PRIMARY KEY, -- 32 hex digits
    asset_id        TEXT   NOT NULL,             -- as announced; not believed before it is verified
    name            TEXT   NOT NULL,
    folder          TEXT   NOT NULL,
    size_bytes      BIGINT NOT NULL,
    mime            TEXT   NOT NULL,             -- as announced
    modified_ms     BIGINT,                      -- of the file
    part_bytes      BIGINT NOT NULL,
    store_upload_id TEXT   NOT NULL,
    state           TEXT   NOT NULL,             -- open, verifying, done, failed
    parts           TEXT,                        -- JSON of the parts to put together, from verifying on
    reason          TEXT,                        -- a sentence, when failed
    created_ms      BIGINT NOT NULL,
    touched_ms      BIGINT NOT NULL              -- last sign of life
);

CREATE INDEX uploads_by_state ON uploads (state, touched_ms);
CREATE INDEX uploads_by_asset ON uploads (asset_id, state);
