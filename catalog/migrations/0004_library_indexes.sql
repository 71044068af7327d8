-- One index for each order of a list. It also holds what filters ask for, so that a page whose filters
-- let much through is read from it alone.

CREATE INDEX assets_by_created ON assets
    (created_ms, seq, kind, camera, codec, folder_id, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_by_name ON assets
    (name_key, seq, created_ms, kind, camera, codec, folder_id, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_by_size ON assets
    (size_bytes, seq, created_ms, kind, camera, codec, folder_id, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_by_duration ON assets
    (duration_ms, seq, created_ms, kind, camera, codec, folder_id, size_bytes, width_px, height_px)
    WHERE trashed_us IS NULL;

-- And one for each filter that may let little through.
CREATE INDEX assets_by_kind ON assets
    (kind, created_ms, seq, camera, codec, folder_id, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_by_camera ON assets
    (camera, created_ms, seq, kind, codec, folder_id, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_by_codec ON assets
    (codec, created_ms, seq, kind, camera, folder_id, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_in_folder ON assets
    (folder_id, created_ms, seq, kind, camera, codec, size_bytes, duration_ms, width_px, height_px)
    WHERE trashed_us IS NULL;
CREATE INDEX assets_in_trash ON assets (trashed_us) WHERE trashed_us IS NOT NULL;

CREATE INDEX jobs_failed ON jobs (asset_id) WHERE state = 'failed';

CREATE TABLE collection_assets (
    collection_id BIGINT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    seq           BIGINT NOT NULL REFERENCES assets (seq) ON DELETE CASCADE,
    PRIMARY KEY (collection_id, seq)
);

CREATE INDEX collection_assets_by_asset ON collection_assets (seq);

-- A recording has a name before its bytes are all there; this leads from it to the one by content.
CREATE TABLE asset_aliases (
    alias TEXT NOT NULL PRIMARY KEY,
    id    TEXT NOT NULL
);

CREATE INDEX asset_aliases_by_id ON asset_aliases (id);
