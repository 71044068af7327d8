//! A large library of rows without originals, to measure by. Must not: be reached by a server.

use super::{
    Catalog, CatalogError,
    sql::{built_query, query},
};

/// Folders of the samples: 200 in each of ten years.
const FOLDERS: i64 = 2000;
/// Rows written in one transaction.
const BATCH: i64 = 100_000;

impl Catalog {
    /// Fills an empty catalog with this many generated assets, calling `on_batch` with how many there
    /// are so far: pictures, videos and sounds of ten years, of 16 cameras, with words, labels, jobs
    /// and renditions. The same rows each time, on either database.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn fill_with_samples(
        &self,
        assets: u32,
        mut on_batch: impl FnMut(i64),
    ) -> Result<(), CatalogError> {
        let assets = i64::from(assets);
        let postgres = self.pool.is_postgres();
        built_query(
            format!(
                "{} INSERT INTO folders (id, path) SELECT n, (2016 + n % 10) || '/event ' || n FROM s",
                series(1, FOLDERS)
            ),
            Vec::new(),
        )
        .execute(&self.pool)
        .await?;
        let hex = match postgres {
            true => "lpad(to_hex(h1), 8, '0') || lpad(to_hex(n), 56, '0')",
            false => "printf('%08x%056x', h1, n)",
        };
        let words = "LOWER(REPLACE(REPLACE(a.name, '_', ' '), '.', ' ')) || ' ' \
             || REPLACE(f.path, '/', ' ')";
        let words = match postgres {
            true => format!(
                "INSERT INTO asset_words (seq, words) \
                 SELECT a.seq, array_to_tsvector(string_to_array({words}, ' '))"
            ),
            false => format!("INSERT INTO asset_words (seq, words) SELECT a.seq, ' ' || {words}"),
        };
        let mut first = 1;
        while first <= assets {
            let last = (first + BATCH - 1).min(assets);
            let rows = series(first, last);
            let random = format!("{rows}, {RANDOM}");
            let statements = [
                format!(
                    "{random} INSERT INTO assets (seq, id, object_key, name, name_key, size_bytes, mime, \
                     kind, folder_id, camera, codec, created_ms, added_ms, trashed_us, width_px, \
                     height_px, duration_ms) \
                     SELECT n, 'sha256:' || hex, 'blobs/sha256/' || hex, name, LOWER(name), size_bytes, \
                     kind || '/x', kind, folder_id, camera, codec, created_ms, created_ms, trashed_us, \
                     width_px, width_px * 9 / 16, duration_ms FROM ({}) v",
                    SAMPLE.replace("{hex}", hex)
                ),
                format!(
                    "{random} INSERT INTO asset_labels (label, seq) \
                     SELECT 'label ' || (((h3 / 65536) % 50) * ((h3 / 65536) % 50) / 50), n FROM r \
                     UNION SELECT 'rare ' || ((n * 7919 / 10) % 5000), n FROM r WHERE n % 10 = 3"
                ),
                format!(
                    "INSERT INTO jobs (asset_id, kind, state, reason, attempts, not_before_ms, queued_ms) \
                     SELECT id, 'derive', CASE seq % 5000 WHEN 0 THEN 'failed' ELSE 'done' END, NULL, 1, \
                     0, 0 FROM assets WHERE seq BETWEEN {first} AND {last}"
                ),
                format!(
                    "INSERT INTO renditions (asset_id, kind, name, object_key, size_bytes, width_px, \
                     height_px) SELECT a.id, k.kind, k.kind || substr(a.id, 8), \
                     'derived/' || k.kind || a.seq, 20000, 320, 180 FROM assets a \
                     CROSS JOIN (SELECT 'thumb_320' AS kind UNION SELECT 'thumb_640') k \
                     WHERE a.seq BETWEEN {first} AND {last}"
                ),
                format!(
                    "{words} FROM assets a JOIN folders f ON f.id = a.folder_id \
                     WHERE a.seq BETWEEN {first} AND {last}"
                ),
            ];
            let mut write = self.write().await?;
            for statement in statements {
                built_query(statement, Vec::new()).execute(&mut write.tx).await?;
            }
            if !postgres {
                let sql = format!(
                    "INSERT INTO asset_search (rowid, words) SELECT seq, words FROM asset_words \
                     WHERE seq BETWEEN {first} AND {last}"
                );
                built_query(sql, Vec::new()).execute(&mut write.tx).await?;
            }
            write.commit().await?;
            on_batch(last);
            first = last + 1;
        }
        if postgres {
            // As its own caretaker does after a while.
            query("VACUUM ANALYZE").execute(&self.pool).await?;
        }
        Ok(())
    }
}

fn series(first: i64, last: i64) -> String {
    format!(
        "WITH RECURSIVE s (n) AS (SELECT CAST({first} AS BIGINT) UNION ALL \
         SELECT n + 1 FROM s WHERE n < {last})"
    )
}

/// Three numbers of each row that look like chance.
const RANDOM: &str = "r AS (SELECT n, (n * 2654435761) % 4294967296 AS h1, \
     (n * 2246822519 + 12345) % 4294967296 AS h2, (n * 3266489917 + 777) % 4294967296 AS h3 FROM s)";

/// Words are three syllables: the first two letters are a sixteenth's, all six a thousandth's.
const SAMPLE: &str = "SELECT n, hex, kind, folder_id, created_ms, trashed_us, \
     CASE kind WHEN 'image' THEN 'IMG_' WHEN 'video' THEN 'MOV_' ELSE 'SND_' END || n || '_' || word \
         || CASE kind WHEN 'image' THEN '.jpg' WHEN 'video' THEN '.mp4' ELSE '.ogg' END AS name, \
     CASE WHEN kind = 'video' AND x % 2 = 0 THEN 'cam' || (x / 2 % 16) ELSE '' END AS camera, \
     CASE kind WHEN 'image' THEN 'mjpeg' WHEN 'audio' THEN 'aac' ELSE \
         CASE WHEN x % 10 < 6 THEN 'h264' WHEN x % 10 < 9 THEN 'hevc' ELSE 'vp9' END END AS codec, \
     CASE kind WHEN 'video' THEN 10000000 + y * 1000 ELSE 1000000 + y * 8 END AS size_bytes, \
     CASE kind WHEN 'image' THEN 0 ELSE 1000 + y % 3600000 END AS duration_ms, \
     CASE WHEN kind = 'audio' THEN 0 WHEN x % 10 = 0 THEN 3840 ELSE 1920 END AS width_px \
     FROM (SELECT n, {hex} AS hex, \
         CASE WHEN (h1 / 65536) % 10 < 6 THEN 'image' WHEN (h1 / 65536) % 10 < 9 THEN 'video' \
             ELSE 'audio' END AS kind, \
         1 + (h3 / 65536) % 2000 AS folder_id, \
         1451606400000 + (h2 % 315360000) * 1000 AS created_ms, \
         CASE WHEN (h3 / 256) % 1000 = 0 THEN 1700000000000000 + n END AS trashed_us, \
         substr('bacedifogulamenipotuwyxahekisoju', CAST(1 + 2 * ((h1 / 4096) % 16) AS INTEGER), 2) \
             || substr('bacedifogulamenipotuwyxahekisoju', CAST(1 + 2 * ((h2 / 4096) % 16) AS INTEGER), 2) \
             || substr('radomise', CAST(1 + 2 * ((h3 / 4096) % 4) AS INTEGER), 2) AS word, \
         (h2 / 1024) % 1000 AS x, (h3 / 1024) % 2000000 AS y FROM r) b";
