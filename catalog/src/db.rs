//! The catalog's tables. All SQL of the workspace stands in this module and the ones below it.
//!
//! Must not: touch the blob store or a file other than its own. Statements are plain enough for
//! PostgreSQL too: `$1` parameters, `ON CONFLICT`, row values, no SQLite functions.

mod assets;
mod cameras;
mod jobs;
mod objects;

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Row, SqlSafeStr, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Notify;

pub use assets::{Added, NewAsset};
pub(crate) use jobs::{ClaimedJob, NewRendition};

/// How long a statement waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at most; each is a thread.
const MAX_CONNECTIONS: u32 = 8;

/// Handle to the catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: SqlitePool,
    jobs_added: Arc<Notify>,
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
    /// The file could not be opened as a database.
    #[error("cannot open the catalog {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The file holds a catalog that this version cannot bring up to date.
    #[error("cannot bring the catalog {} up to date: {source}", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
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
    /// Opens the catalog in an SQLite file, creating and migrating it as needed.
    ///
    /// # Errors
    /// When the file cannot be made or is not a catalog this version understands.
    pub async fn open_sqlite(path: &Path) -> Result<Self, CatalogError> {
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
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|source| CatalogError::Open { path: path.to_owned(), source })?;
        migrator()
            .run(&pool)
            .await
            .map_err(|source| CatalogError::Migrate { path: path.to_owned(), source })?;
        Ok(Self { pool, jobs_added: Arc::default() })
    }

    /// Whether the catalog answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        sqlx::query("SELECT id FROM assets LIMIT 1").fetch_optional(&self.pool).await?;
        Ok(())
    }

    /// How much there is. Reads whole tables: for a status page, not for every request.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn counts(&self) -> Result<Counts, CatalogError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM assets) AS assets, \
             (SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM assets) AS originals_bytes, \
             (SELECT COUNT(*) FROM jobs WHERE state IN ('pending', 'running')) AS jobs_open, \
             (SELECT COUNT(*) FROM jobs WHERE state = 'failed') AS jobs_failed",
        )
        .fetch_one(&self.pool)
        .await?;
        let count = |column| -> Result<u64, CatalogError> {
            let count: i64 = row.try_get(column)?;
            u64::try_from(count).map_err(|_| CatalogError::BadRow { row: "counts".into(), column })
        };
        Ok(Counts {
            assets: count("assets")?,
            originals_bytes: count("originals_bytes")?,
            jobs_open: count("jobs_open")?,
            jobs_failed: count("jobs_failed")?,
        })
    }

    /// Finishes what is under way and closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Completes when this process has added a job since the last call. For one waiter.
    pub(crate) async fn job_added(&self) {
        self.jobs_added.notified().await;
    }
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

/// Forward-only migrations, in order.
fn migrator() -> Migrator {
    let migrations = [
        (1, "assets", include_str!("../migrations/0001_assets.sql").into_sql_str()),
        (2, "cameras", include_str!("../migrations/0002_cameras.sql").into_sql_str()),
    ];
    let migrations = migrations.into_iter().map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}
