//! The catalog's tables. All SQL of the workspace stands in this module and the ones below it.
//!
//! Must not: touch the blob store or a file other than its own. Statements are plain enough for SQLite
//! and PostgreSQL: `$1` parameters, `ON CONFLICT`, row values.

mod assets;
mod cameras;
mod collections;
mod dates;
mod filters;
mod folders;
mod freed;
mod ingest;
mod jobs;
mod older;
mod reconcile;
mod recordings;
mod samples;
mod search;
mod select;
mod sql;
mod tags;
mod trash;
mod uploads;
mod url;
mod write;

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::JobStatus;
use jiff::Timestamp;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Notify, broadcast, futures::Notified};

use self::sql::{Pool, query};
use crate::changes::{Changes, Tag};

pub use assets::{Added, Measures, NewAsset};
pub(crate) use ingest::SeenFile;
pub use jobs::JobFilter;
pub(crate) use jobs::{ClaimedJob, Finished, Made, NewRendition};
pub(crate) use reconcile::{Checkpoint, ScannedObject};
pub use recordings::{FinishedRecording, NewRecording};
pub(crate) use uploads::{ClaimedUpload, UploadRow};
pub use url::{CatalogUrl, ParseCatalogUrlError};

/// How long a statement waits for another process to finish writing an SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for a connection; a database that is away is told of after that.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at most. To SQLite each is a thread.
const MAX_CONNECTIONS: u32 = 8;

/// Events of jobs that a slow listener may be behind.
const JOB_EVENTS: usize = 256;

/// How much of an SQLite file is read in place: all of it, up to some millions of assets.
const MMAP_BYTES: &str = "4294967296";

/// Handle to the catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: Pool,
    changes: Arc<Changes>,
    jobs_added: Arc<Notify>,
    job_events: broadcast::Sender<JobStatus>,
}

/// Why the catalog could not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The folder of the catalog's file could not be made.
    #[error("cannot make the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("cannot open the catalog {url}: {source}")]
    Open {
        /// The file, or the server and the database.
        url: CatalogUrl,
        /// Why.
        source: sqlx::Error,
    },
    /// The database holds a catalog that this version cannot bring up to date.
    #[error("cannot bring the catalog {url} up to date: {source}")]
    Migrate {
        /// The file, or the server and the database.
        url: CatalogUrl,
        /// Why; a newer version of Damwall may have written it.
        source: MigrateError,
    },
    /// A statement failed.
    #[error("the catalog could not answer: {0}")]
    Query(#[from] sqlx::Error),
    /// A row holds what this version never writes.
    #[error("the catalog's row {row} has a bad {column}")]
    BadRow {
        /// Its key.
        row: String,
        /// Which column.
        column: &'static str,
    },
}

/// What the catalog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Assets.
    pub assets: u64,
    /// Bytes of their originals.
    pub originals_bytes: u64,
    /// Jobs waiting or being done.
    pub jobs_open: u64,
    /// Jobs given up.
    pub jobs_failed: u64,
}

impl Catalog {
    /// Opens the catalog, creating and migrating it as needed. A PostgreSQL database has to be there
    /// already; its tables need not.
    ///
    /// # Errors
    /// When it cannot be reached or made, or is not a catalog this version understands.
    pub async fn open(url: &CatalogUrl) -> Result<Self, CatalogError> {
        let pool = match url {
            CatalogUrl::Sqlite(path) => Pool::Sqlite(open_sqlite(url, path).await?),
            CatalogUrl::Postgres(options) => Pool::Postgres(open_postgres(url, options).await?),
        };
        let changes = match &pool {
            Pool::Sqlite(pool) => Changes::on_sqlite(pool).await?,
            Pool::Postgres(pool) => Changes::on_postgres(pool).await?,
        };
        let (job_events, _) = broadcast::channel(JOB_EVENTS);
        let changes = Arc::new(changes);
        let catalog = Self { pool, changes, jobs_added: Arc::default(), job_events };
        catalog.index_old_assets().await?;
        Ok(catalog)
    }

    /// What changes from now on, in batches, once it can be read. A receiver that is too slow is told
    /// that it lags: to it anything may have changed.
    pub fn changes(&self) -> broadcast::Receiver<Arc<[Tag]>> {
        self.changes.subscribe()
    }

    /// Whether the catalog answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        query("SELECT id FROM assets LIMIT 1").fetch_optional::<(String,)>(&self.pool).await?;
        Ok(())
    }

    /// The time by which leases end. Servers that share a catalog may have clocks that differ; the database
    /// server's is everyone's.
    pub(crate) async fn now(&self) -> Result<Timestamp, CatalogError> {
        if !self.pool.is_postgres() {
            return Ok(Timestamp::now());
        }
        let now = query("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)");
        let (now_ms,) = now.fetch_one::<(i64,)>(&self.pool).await?;
        let bad = |_| CatalogError::BadRow { row: "now".into(), column: "clock_timestamp" };
        Timestamp::from_millisecond(now_ms).map_err(bad)
    }

    /// How much there is. Reads whole tables: for a status page, not for every request.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn counts(&self) -> Result<Counts, CatalogError> {
        let (assets, originals_bytes, jobs_open, jobs_failed) = query(
            "SELECT (SELECT COUNT(*) FROM assets), \
             (SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM assets), \
             (SELECT COUNT(*) FROM jobs WHERE state IN ('pending', 'running')), \
             (SELECT COUNT(*) FROM jobs WHERE state = 'failed')",
        )
        .fetch_one::<(i64, i64, i64, i64)>(&self.pool)
        .await?;
        Ok(Counts {
            assets: assets.unsigned_abs(),
            originals_bytes: originals_bytes.unsigned_abs(),
            jobs_open: jobs_open.unsigned_abs(),
            jobs_failed: jobs_failed.unsigned_abs(),
        })
    }

    /// Finishes what is under way and closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether no other machine can have this catalog open: it is a file, not a database server.
    pub fn is_private(&self) -> bool {
        !self.pool.is_postgres()
    }

    /// What becomes of jobs that this process does, as it happens. A receiver that is too slow is told
    /// how many events it has missed, and reads the list again.
    pub fn job_events(&self) -> broadcast::Receiver<JobStatus> {
        self.job_events.subscribe()
    }

    /// Completes when this process adds a job. Enable it before looking for jobs, and none is missed.
    pub(crate) fn jobs_added(&self) -> Notified<'_> {
        self.jobs_added.notified()
    }

    /// Wakes everyone who waits for jobs.
    fn tell_jobs_added(&self) {
        self.jobs_added.notify_waiters();
    }

    fn send_job_event(&self, event: JobStatus) {
        // Nobody listening is fine.
        let _ = self.job_events.send(event);
    }
}

async fn open_sqlite(url: &CatalogUrl, path: &Path) -> Result<sqlx::SqlitePool, CatalogError> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(|source| CatalogError::Folder { folder: folder.to_owned(), source })?;
    }
    if let Err(error) = make_private(path) {
        let path = path.display();
        tracing::warn!(%error, "others may read {path}, which holds cameras' passwords: {error}");
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // The file is read through the system's cache without a copy for each connection.
        .pragma("mmap_size", MMAP_BYTES)
        .pragma("temp_store", "memory")
        .optimize_on_close(true, None);
    let open_error = |source| CatalogError::Open { url: url.clone(), source };
    let migrate_error = |source| CatalogError::Migrate { url: url.clone(), source };
    // A migration that makes a table anew drops the old one, and what refers to it is to stay.
    let mut connection = options.clone().foreign_keys(false).connect().await.map_err(open_error)?;
    migrator(Flavour::Sqlite).run(&mut connection).await.map_err(migrate_error)?;
    connection.close().await.map_err(open_error)?;
    SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(open_error)
}

async fn open_postgres(
    url: &CatalogUrl,
    options: &PgConnectOptions,
) -> Result<sqlx::PgPool, CatalogError> {
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // How a filtered page is best read depends on the values; compiling a plan takes
                // longer than running it.
                connection
                    .execute("SET plan_cache_mode = force_custom_plan; SET jit = off")
                    .await?;
                Ok(())
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(|source| CatalogError::Open { url: url.clone(), source })?;
    // Takes a lock of the database: several processes may start at once.
    migrator(Flavour::Postgres)
        .run(&pool)
        .await
        .map_err(|source| CatalogError::Migrate { url: url.clone(), source })?;
    Ok(pool)
}

/// Makes the file, or takes it from everyone but its owner. SQLite gives its other files the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    const OWNER_ONLY: u32 = 0o600;
    let file = fs::OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
    }
    Ok(())
}

/// Which database migrations are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Sqlite,
    Postgres,
}

/// A migration of both, or the two that do the same.
macro_rules! migration {
    ($flavour:ident, both $file:literal) => {
        include_str!(concat!("../migrations/", $file)).into_sql_str()
    };
    ($flavour:ident, each $file:literal) => {
        match $flavour {
            Flavour::Sqlite => include_str!(concat!("../migrations/sqlite/", $file)),
            Flavour::Postgres => include_str!(concat!("../migrations/postgres/", $file)),
        }
        .into_sql_str()
    };
}

/// Forward-only migrations, in order. One that has been shipped never changes.
fn migrator(flavour: Flavour) -> Migrator {
    let migrations = [
        (1, "assets", migration!(flavour, both "0001_assets.sql")),
        (2, "cameras", migration!(flavour, both "0002_cameras.sql")),
        (3, "library", migration!(flavour, each "0003_library.sql")),
        (4, "library indexes", migration!(flavour, both "0004_library_indexes.sql")),
        (10, "uploads", migration!(flavour, both "0010_uploads.sql")),
        (20, "jobs", migration!(flavour, both "0020_jobs.sql")),
        (40, "ingest", migration!(flavour, each "0040_ingest.sql")),
        (60, "upload claims", migration!(flavour, both "0060_upload_claims.sql")),
        (70, "freed objects", migration!(flavour, both "0070_freed_objects.sql")),
        (80, "attempts and stores", migration!(flavour, both "0080_attempts_and_stores.sql")),
    ];
    let changes =
        (50, "changes", include_str!("../migrations/sqlite/0050_changes.sql").into_sql_str());
    let of_sqlite = Some(changes).filter(|_| flavour == Flavour::Sqlite);
    let migrations = migrations.into_iter().chain(of_sqlite).map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use domain::{AssetId, AssetQuery};

    use super::*;

    #[tokio::test]
    async fn a_catalog_of_the_first_version_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let old = migrator(Flavour::Sqlite).migrations.iter().take(2).cloned().collect();
        Migrator::with_migrations(old).run(&mut connection).await.unwrap();
        for (n, name) in [(1, "Harbour.JPG"), (2, "take.mp4")] {
            let id = AssetId::from_digest([n; 32]);
            let mime = if n == 1 { "image/jpeg" } else { "video/mp4" };
            let rows = format!(
                "INSERT INTO assets (id, object_key, name, size_bytes, mime, folder, labels, \
                 created_ms, added_ms) VALUES ('{id}', 'k{n}', '{name}', 7, '{mime}', '2026/may', \
                 '[]', {n}, 0); \
                 INSERT INTO renditions VALUES ('{id}', 'thumb_320', 'n{n}', 'd{n}', 1, 2, 3); \
                 INSERT INTO jobs VALUES ('{id}', 'derive', 'done', NULL, 1, 0, 0); \
                 INSERT INTO scanned_objects VALUES ('k{n}', 7, 's', '{id}', NULL)"
            );
            connection.execute(sqlx::AssertSqlSafe(rows)).await.unwrap();
        }
        connection.close().await.unwrap();

        let catalog = Catalog::open(&CatalogUrl::Sqlite(path)).await.unwrap();
        let query = AssetQuery::parse("q=harb+may&kind=image&folder=2026").unwrap();
        let page = catalog.list_assets(&query).await.unwrap();
        assert_eq!((page.items.len(), page.items[0].name.as_str()), (1, "Harbour.JPG"));
        assert_eq!(page.items[0].renditions.len(), 1, "what refers to an asset stays");
        let counts = catalog.counts().await.unwrap();
        // There is more to derive from them than the first version did.
        assert_eq!((counts.assets, counts.jobs_open), (2, 2));
        // What refers to assets refers to the new table: it goes with them.
        let id = page.items[0].id.clone();
        catalog.trash(&[id]).await.unwrap();
        catalog.purge(jiff::Timestamp::MAX).await.unwrap();
        let left = query_count(&catalog, "SELECT COUNT(*) FROM renditions").await;
        let unknown = "SELECT COUNT(*) FROM scanned_objects WHERE asset_id IS NULL";
        assert_eq!((left, query_count(&catalog, unknown).await), (1, 1));
    }

    async fn query_count(catalog: &Catalog, sql: &'static str) -> i64 {
        query(sql).fetch_one::<(i64,)>(&catalog.pool).await.unwrap().0
    }
}
