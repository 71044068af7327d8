-- What the explorer finds assets by: numbers instead of hashes, folders, labels, words, the trash.
-- An index of numbers is small enough to be read whole, and a number never changes: full text refers
-- to it. 0 and '' stand for "none", so that one index can hold what filters ask for.

CREATE TABLE folders (
    id   INTEGER NOT NULL PRIMARY KEY,
    path TEXT    NOT NULL UNIQUE
);

INSERT INTO folders (path) SELECT DISTINCT folder FROM assets;

CREATE TABLE numbered_assets (
    seq          INTEGER NOT NULL PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,     -- sha256:<64 hex>
    object_key   TEXT    NOT NULL UNIQUE,     -- original in the blob store
    name         TEXT    NOT NULL,
    name_key     TEXT    NOT NULL,            -- what it is sorted by; '' before it is indexed
    size_bytes   BIGINT  NOT NULL,
    mime         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,            -- image, video, audio, other
    folder_id    BIGINT  NOT NULL REFERENCES folders (id),
    camera       TEXT    NOT NULL DEFAULT '',
    codec        TEXT    NOT NULL DEFAULT '',
    created_ms   BIGINT  NOT NULL,
    added_ms     BIGINT  NOT NULL,
    trashed_us   BIGINT,                      -- when it was put into the trash, and with what
    recording    BIGINT  NOT NULL DEFAULT 0,  -- 1 while a camera still writes it
    source_node  TEXT,
    origin_path  TEXT,
    external_ref TEXT,
    thumbhash    TEXT,                        -- base64
    width_px     BIGINT  NOT NULL DEFAULT 0,
    height_px    BIGINT  NOT NULL DEFAULT 0,
    duration_ms  BIGINT  NOT NULL DEFAULT 0
);

INSERT INTO numbered_assets
    (id, object_key, name, name_key, size_bytes, mime, kind, folder_id, created_ms, added_ms,
     source_node, origin_path, external_ref, width_px, height_px, duration_ms)
SELECT a.id, a.object_key, a.name, '', a.size_bytes, a.mime,
    CASE substr(a.mime, 1, 6) WHEN 'image/' THEN 'image' WHEN 'video/' THEN 'video'
        WHEN 'audio/' THEN 'audio' ELSE 'other' END,
    f.id, a.created_ms, a.added_ms, a.source_node, a.origin_path, a.external_ref,
    COALESCE(a.width_px, 0), COALESCE(a.height_px, 0), COALESCE(a.duration_ms, 0)
FROM assets a JOIN folders f ON f.path = a.folder
ORDER BY a.created_ms, a.id;

-- Foreign keys are off while migrations run, and those of other tables go on meaning `assets`.
DROP TABLE assets;
ALTER TABLE numbered_assets RENAME TO assets;

CREATE TABLE asset_labels (
    label TEXT   NOT NULL,
    seq   BIGINT NOT NULL REFERENCES assets (seq) ON DELETE CASCADE,
    PRIMARY KEY (label, seq)
) WITHOUT ROWID;

CREATE INDEX asset_labels_by_asset ON asset_labels (seq, label);

-- Words of name, folder and labels, already lowered and split, with a space before each: to look at
-- those of one asset.
CREATE TABLE asset_words (
    seq   INTEGER NOT NULL PRIMARY KEY REFERENCES assets (seq) ON DELETE CASCADE,
    words TEXT    NOT NULL
);

-- The same, to find assets by a word; rowid is the asset's seq.
CREATE VIRTUAL TABLE asset_search USING fts5 (
    words, content = '', contentless_delete = 1, detail = 'none', prefix = '1 2 3', tokenize = 'ascii'
);

CREATE TABLE collections (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    title      TEXT    NOT NULL,
    created_ms BIGINT  NOT NULL
);

CREATE TABLE saved_filters (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    title      TEXT    NOT NULL,
    query      TEXT    NOT NULL,              -- canonical
    created_ms BIGINT  NOT NULL
);
