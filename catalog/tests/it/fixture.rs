//! A catalog and a folder store in a temporary folder.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use catalog::{
    BlobStore, Catalog, CatalogUrl, ImportOptions, ImportSummary, JobWorker, JobWorkerOptions,
    blob::{FolderStore, LinkSecret},
    import_folder, rendition_bytes, rendition_file_key,
};
use domain::{Asset, AssetQuery};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::database::Database;

pub struct Fixture {
    pub dir: TempDir,
    pub catalog: Catalog,
    pub store: BlobStore,
    database: Database,
}

impl Fixture {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::open(&dir.path().join("store"), LinkSecret::new([1; 32])).unwrap();
        Self::with_store(dir, BlobStore::Folder(store)).await
    }

    pub async fn with_store(dir: TempDir, store: BlobStore) -> Self {
        std::fs::create_dir(dir.path().join("Photos")).unwrap();
        let database = Database::of_this_run();
        let catalog = database.open().await;
        Self { dir, catalog, store, database }
    }

    /// The library that another process has made in `dir`; it is not removed.
    pub async fn reopened(dir: &Path) -> Reopened {
        let store = FolderStore::open(&dir.join("store"), LinkSecret::new([1; 32])).unwrap();
        let url = CatalogUrl::Sqlite(dir.join("data/catalog.sqlite"));
        Reopened { catalog: Catalog::open(&url).await.unwrap(), store: BlobStore::Folder(store) }
    }

    /// The folder that [`Fixture::import`] imports.
    pub fn photos(&self) -> PathBuf {
        self.dir.path().join("Photos")
    }

    /// Root of the folder store.
    pub fn store_root(&self) -> &Path {
        self.store.as_folder().unwrap().root()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.photos().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub async fn import(&self) -> ImportSummary {
        let options = ImportOptions::default();
        import_folder(&self.catalog, &self.store, &self.photos(), &options, |_| {}).await.unwrap()
    }

    pub fn options() -> JobWorkerOptions {
        JobWorkerOptions::new(env!("CARGO_BIN_EXE_damwall-thumb-worker").into())
    }

    pub fn worker(&self, options: JobWorkerOptions) -> JobWorker {
        JobWorker::new(self.catalog.clone(), self.store.clone(), options)
    }

    /// Does every job that is waiting.
    pub async fn do_jobs(&self) -> u64 {
        self.worker(Self::options()).drain(&CancellationToken::new()).await.unwrap()
    }

    /// The time of every job comes that waits for one.
    pub async fn time_passes(&self) {
        execute(&self.database, "UPDATE jobs SET not_before_ms = 0").await;
    }

    /// The bytes behind `/assets/thumbs/{file}`.
    pub async fn rendition(&self, file: &str) -> Option<Bytes> {
        let key = rendition_file_key(&self.catalog, file).await.unwrap()?;
        rendition_bytes(&self.store, &key).await.unwrap()
    }

    pub async fn assets(&self) -> Vec<Asset> {
        let page = self.catalog.list_assets(&AssetQuery::default()).await.unwrap();
        assert_eq!(page.next_cursor, None);
        page.items
    }

    /// The only asset there is.
    pub async fn asset(&self) -> Asset {
        let assets = self.assets().await;
        assert_eq!(assets.len(), 1, "{assets:?}");
        assets.into_iter().next().unwrap()
    }
}

/// Does what the catalog itself would not, over a connection of its own.
pub async fn execute(database: &Database, sql: &'static str) {
    let done = match &database.url {
        CatalogUrl::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            options.connect().await.unwrap().execute(sql).await.map(drop)
        }
        CatalogUrl::Postgres(options) => {
            options.connect().await.unwrap().execute(sql).await.map(drop)
        }
    };
    done.unwrap();
}

/// A library that another process owns.
pub struct Reopened {
    pub catalog: Catalog,
    pub store: BlobStore,
}

impl Reopened {
    pub fn worker(&self, options: JobWorkerOptions) -> JobWorker {
        JobWorker::new(self.catalog.clone(), self.store.clone(), options)
    }
}
