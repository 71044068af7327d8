-- Plain SQL that SQLite and PostgreSQL both understand: TEXT, BIGINT, no triggers.
-- Times are Unix milliseconds.

CREATE TABLE assets (
    id           TEXT   NOT NULL PRIMARY KEY, -- sha256:<64 hex>
    object_key   TEXT   NOT NULL UNIQUE,      -- original in the blob store
    name         TEXT   NOT NULL,
    size_bytes   BIGINT NOT NULL,
    mime         TEXT   NOT NULL,
    folder       TEXT   NOT NULL,
    labels       TEXT   NOT NULL,             -- JSON array of strings
    created_ms   BIGINT NOT NULL,
    added_ms     BIGINT NOT NULL,
    source_node  TEXT,
    origin_path  TEXT,
    external_ref TEXT,
    width_px     BIGINT,
    height_px    BIGINT,
    duration_ms  BIGINT
);

CREATE INDEX assets_newest_first ON assets (created_ms DESC, id DESC);
CREATE INDEX assets_by_folder ON assets (folder, created_ms DESC, id DESC);

-- What was derived from an original; every row names an object that exists.
CREATE TABLE renditions (
    asset_id   TEXT   NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    kind       TEXT   NOT NULL,               -- thumb_320, thumb_640, ...
    name       TEXT   NOT NULL UNIQUE,        -- 64 hex of sha256(src|kind|params)
    object_key TEXT   NOT NULL,
    size_bytes BIGINT NOT NULL,
    width_px   BIGINT NOT NULL,
    height_px  BIGINT NOT NULL,
    PRIMARY KEY (asset_id, kind)
);

-- The queue: one row per thing to be done for an asset. The payload is the asset's id.
CREATE TABLE jobs (
    asset_id      TEXT   NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    kind          TEXT   NOT NULL,            -- derive
    state         TEXT   NOT NULL,            -- pending, running, done, failed
    reason        TEXT,                       -- a sentence, when failed or to be tried again
    attempts      BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    queued_ms     BIGINT NOT NULL,
    PRIMARY KEY (asset_id, kind)
);

CREATE INDEX jobs_next ON jobs (kind, state, not_before_ms, queued_ms);

-- Objects that a scan has seen, so that the next scan reads only what is new or changed.
-- A row with neither asset nor reason is read again.
CREATE TABLE scanned_objects (
    object_key TEXT   NOT NULL PRIMARY KEY,
    len_bytes  BIGINT NOT NULL,
    stamp      TEXT   NOT NULL,               -- changes whenever the object does
    asset_id   TEXT REFERENCES assets (id) ON DELETE SET NULL,
    reason     TEXT                           -- why it is not an asset
);

CREATE INDEX scanned_objects_by_asset ON scanned_objects (asset_id);
