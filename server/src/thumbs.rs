//! Thumbnails: bytes that never change under their name, kept in memory and, of a store elsewhere, on disk.
//!
//! Owns: that each is fetched once however many ask, how much of them is kept, and that none outlives its
//! asset. Must not: decide access, or be needed: all of it can be deleted while the server runs.

mod disk;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use app::ssr::Viewer;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use catalog::{BlobStore, Catalog, Tag, keys};
use domain::{AssetId, RenditionKind};
use futures::FutureExt as _;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use self::disk::ThumbDisk;
use crate::{
    api::input::Path,
    cache_policy::{CachePolicy, put_security_headers},
    error::Problem,
    page_cache::{Clock, Content},
};

/// Bytes of thumbnails kept in memory: some 4000 of them.
const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// What is counted for a name of which there is none, beside its own length: the cache's entry.
const MISSING_BYTES: u32 = 512;
/// How long it is remembered that there is no such thumbnail.
const MISSING_MS: i64 = 60_000;

/// Thumbnails at hand; cheap to clone.
#[derive(Clone, Debug)]
pub struct ThumbCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: BlobStore,
    memory: moka::future::Cache<String, Kept>,
    /// Counts changes after which something in memory may be of no asset any more.
    changes: AtomicU64,
    disk: Option<ThumbDisk>,
    policy: CachePolicy,
    clock: Clock,
}

#[derive(Clone, Debug)]
enum Kept {
    Thumb(Arc<Content>),
    /// There is none, as of that time.
    Missing(i64),
}

impl ThumbCache {
    /// Keeps thumbnails of a store: in memory, and in `folder` if the store is not on this machine's disk
    /// already.
    pub fn new(
        catalog: Catalog,
        store: BlobStore,
        folder: Option<PathBuf>,
        is_open: bool,
        clock: Clock,
    ) -> Self {
        let weigh = |name: &String, kept: &Kept| match kept {
            Kept::Thumb(content) => u32::try_from(content.weight_bytes()).unwrap_or(u32::MAX),
            // With what the cache itself needs for an entry, or names alone would fill the machine.
            Kept::Missing(_) => u32::try_from(name.len()).unwrap_or(u32::MAX) + MISSING_BYTES,
        };
        let memory =
            moka::future::Cache::builder().max_capacity(MEMORY_MAX_BYTES).weigher(weigh).build();
        let disk = folder.filter(|_| store.as_folder().is_none()).map(ThumbDisk::new);
        let policy = if is_open { CachePolicy::Thumbnail } else { CachePolicy::PrivateThumbnail };
        Self(Arc::new(Inner {
            catalog,
            store,
            memory,
            changes: AtomicU64::new(0),
            disk,
            policy,
            clock,
        }))
    }

    /// A thumbnail that is in memory, found without waiting.
    pub(crate) fn peek(&self, file: &str) -> Option<Arc<Content>> {
        match self.0.memory.get(file).now_or_never()?? {
            Kept::Thumb(content) => Some(content),
            Kept::Missing(_) => None,
        }
    }

    /// A thumbnail, from wherever it is at hand; `None` when there is none of that name.
    async fn find(&self, file: &str) -> Result<Option<Arc<Content>>, Arc<Problem>> {
        // Other names are nothing's, and must not fill the memory.
        if keys::parse_rendition_file(file).is_none() {
            return Ok(None);
        }
        let now_ms = self.0.clock.now_ms();
        if let Some(Kept::Missing(since_ms)) = self.0.memory.get(file).await
            && now_ms.saturating_sub(since_ms) >= MISSING_MS
        {
            self.0.memory.invalidate(file).await;
        }
        let fetch = async {
            match self.fetch(file).await? {
                Some(content) => Ok(Kept::Thumb(content)),
                None => Ok(Kept::Missing(now_ms)),
            }
        };
        let changes_before = self.0.changes.load(SeqCst);
        let kept = self.0.memory.entry_by_ref(file).or_try_insert_with(fetch).await?.into_value();
        // Purged while it was fetched: word of that came before there was anything to forget.
        if self.0.changes.load(SeqCst) != changes_before
            && !matches!(catalog::rendition_file_key(&self.0.catalog, file).await, Ok(Some(_)))
        {
            self.0.memory.invalidate(file).await;
        }
        match kept {
            Kept::Thumb(content) => Ok(Some(content)),
            Kept::Missing(_) => Ok(None),
        }
    }

    async fn fetch(&self, file: &str) -> Result<Option<Arc<Content>>, Problem> {
        // Asked even if it is on disk: it may have been purged.
        let Some(key) = catalog::rendition_file_key(&self.0.catalog, file).await? else {
            return Ok(None);
        };
        let disk = self.0.disk.as_ref();
        let from_disk = match disk {
            Some(disk) => disk.read(file).await,
            None => None,
        };
        let bytes = match from_disk {
            Some(bytes) => bytes,
            None => {
                let fetched = catalog::rendition_bytes(&self.0.store, &key).await?;
                let Some(bytes) = fetched else { return Ok(None) };
                if let Some(disk) = disk {
                    disk.write(file, bytes.clone()).await;
                }
                bytes
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(keys::rendition_file_mime(file)),
        );
        headers.insert(header::CACHE_CONTROL, self.0.policy.header());
        put_security_headers(&mut headers);
        Ok(Some(Arc::new(Content::precompressed(headers, bytes, None, None))))
    }

    /// Keeps what is on disk within its bounds, and forgets what is purged, until `token` is cancelled.
    /// `changes` must be older than the first answer.
    pub async fn run(&self, changes: Receiver<Arc<[Tag]>>, token: CancellationToken) {
        let sweeps = async {
            match &self.0.disk {
                Some(disk) => disk.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            () = sweeps => {}
            () = self.listen(changes) => {}
        }
    }

    async fn listen(&self, mut changes: Receiver<Arc<[Tag]>>) {
        loop {
            let tags = match changes.recv().await {
                Ok(tags) => tags,
                Err(RecvError::Lagged(_)) => [Tag::Everything].into(),
                // The catalog is gone: the program ends.
                Err(RecvError::Closed) => return std::future::pending().await,
            };
            // Before anything is forgotten, so that whoever puts something in after that sees it.
            self.0.changes.fetch_add(1, SeqCst);
            for tag in tags.iter() {
                match tag {
                    Tag::Asset(id) => self.forget_if_purged(id).await,
                    // What is on disk is not sent without a look into the catalog.
                    Tag::Everything => self.0.memory.invalidate_all(),
                    _ => {}
                }
            }
        }
    }

    /// Whatever has changed of an asset: that it is gone is not told apart.
    async fn forget_if_purged(&self, id: &AssetId) {
        for kind in RenditionKind::ALL.into_iter().filter(|kind| !kind.is_proxy()) {
            let file = format!("{}.{}", keys::rendition_name(id, kind), kind.extension());
            self.0.memory.invalidate(&file).await;
            if let Some(disk) = &self.0.disk
                && disk.has(&file).await
                && matches!(catalog::rendition_file_key(&self.0.catalog, &file).await, Ok(None))
            {
                disk.remove(&file).await;
            }
        }
    }
}

/// `GET /assets/thumbs/{name}`, of one that is not in memory.
pub(crate) async fn show(
    _viewer: Viewer,
    State(thumbs): State<ThumbCache>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = thumbs.find(&name).await.map_err(Arc::unwrap_or_clone)?;
    let Some(thumb) = found else { return Err(Problem::not_found("no such thumbnail")) };
    let mut response = crate::front::answer_in_router(&thumb, &headers).into_response();
    response.headers_mut().insert("x-cache", HeaderValue::from_static("MISS"));
    Ok(response)
}
