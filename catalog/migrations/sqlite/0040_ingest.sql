-- What ingest remembers. Times are Unix milliseconds unless the name says otherwise.

-- Files of imports and watched folders that were read, so that they are not read again.
CREATE TABLE seen_files (
    node        TEXT   NOT NULL,              -- the machine's name
    path        TEXT   NOT NULL,
    len_bytes   BIGINT NOT NULL,
    modified_us BIGINT NOT NULL,
    asset_id    TEXT REFERENCES assets (id) ON DELETE SET NULL,
    reason      TEXT,                         -- why it is not an asset
    PRIMARY KEY (node, path)
);

CREATE INDEX seen_files_by_asset ON seen_files (asset_id);

-- What originals say of themselves, JSON of domain::Metadata.
CREATE TABLE asset_metadata (
    asset_id TEXT NOT NULL PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE,
    document TEXT NOT NULL
);

-- Assets whose original was not in the store when it was last looked for.
CREATE TABLE missing_originals (
    asset_id TEXT   NOT NULL PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE,
    since_ms BIGINT NOT NULL
);

-- When an object was found gone; forgotten later, so that one that comes back need not be read.
ALTER TABLE scanned_objects ADD COLUMN gone_ms BIGINT;

-- The one look through the store: who is at it, and how far it has come.
CREATE TABLE reconcile_run (
    id             BIGINT NOT NULL PRIMARY KEY, -- 1
    owner          TEXT   NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    start_after    TEXT,                        -- key after which the listing goes on
    checked_to     TEXT,                        -- highest key compared so far
    started_ms     BIGINT NOT NULL,
    finished_ms    BIGINT
);
