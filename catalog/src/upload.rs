//! Uploads: announced by hash, sent in parts straight to the blob store, verified, then assets.
//!
//! The parts make an object below `blobs/uploads/`, which nothing else looks at. Only when its length and
//! SHA-256 are what was announced is it moved to its content-addressed key and registered. So there is
//! never an unverified byte under `blobs/sha256/`: a lie about a hash can neither replace nor pass for
//! the original of that hash, and two uploads of one hash do not meet before both are verified. The move
//! is a rename in a folder and a copy within the store on S3, where bytes already there could otherwise
//! be replaced by whoever completes last (not every store knows conditional completion).
//!
//! Every step may be repeated. What is done in which order, and what a crash in between leaves:
//! `create` in the store, row `open` (else: the store's upload, which [`Uploads::sweep`] ends) · parts
//! (the store remembers them) · row `verifying` with the list of parts · complete (else: completed, which
//! the repetition finds) · verify · move (else: an original without an asset, which the repetition
//! registers) · asset and its job in one transaction · row `done`. From `verifying` on whoever does it holds
//! the row by a lease, so that two servers do not do it at once. What the store or the catalog fails at is
//! tried again, later and later, and then given up. A row goes only from a state in which nobody works on it.
//!
//! Must not: hold a file in memory, believe an announced hash or type, or know HTTP.

mod run;
mod verify;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use domain::{
    Asset, AssetId, NewUpload, NewUploadError, Upload, UploadId, UploadPart, UploadState,
    part_bytes,
};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::{
    blob::{BlobError, BlobKey, BlobStore, LIST_LIMIT_MAX, ListedObject, ObjectInfo, PartNumber},
    db::{Added, Catalog, CatalogError, NewAsset, UploadRow},
    facts, keys,
    trash::keep_object,
};

pub use run::UploadOptions;

/// Uploads awaiting parts at once.
const OPEN_MAX: u64 = 1000;
/// Links signed in one request.
const SIGN_MAX: usize = 100;
/// How long the link of a part lives.
const PART_TTL: Duration = Duration::from_secs(3600);
/// After this long without a sign of life an upload is ended.
const STALE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often whoever waits for an upload looks whether another process has settled it.
const SETTLED_ELSEWHERE: Duration = Duration::from_secs(1);

/// Why an upload is not begun, changed or told of.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload.
    #[error("there is no upload of this id")]
    NotFound,
    /// What was announced is not valid.
    #[error(transparent)]
    Invalid(#[from] NewUploadError),
    /// What was asked for is not possible; a sentence.
    #[error("{0}")]
    Bad(String),
    /// The upload is not in a state for it; a sentence.
    #[error("{0}")]
    Conflict(String),
    /// It is no picture, video or sound.
    #[error("it is no picture, video or sound")]
    NotMedia,
    /// Too many uploads are open.
    #[error("too many uploads are under way; finish or abort some of them")]
    TooMany,
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// What became of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The bytes are an asset already: there is nothing to send.
    Known(Box<Asset>),
    /// The parts that are not there yet are to be sent. May be an upload that was begun before.
    Upload(Box<Upload>),
}

/// A link to send a part to. A secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartLink {
    /// From 1.
    pub number: u16,
    /// Exact length in bytes.
    pub len_bytes: u64,
    /// Where to `PUT` it: a path on this server or a whole URL.
    pub url: String,
}

/// All uploads of a library; cheap to clone.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: BlobStore,
    /// Something is to be verified.
    wake: Notify,
    options: UploadOptions,
    /// Counts attempts at verifying that have ended in this process.
    settled: watch::Sender<u64>,
}

impl Uploads {
    /// Uploads to this library. Nothing is verified unless [`Uploads::run`] runs in some process.
    pub fn new(catalog: Catalog, store: BlobStore) -> Self {
        Self::with_options(catalog, store, UploadOptions::default())
    }

    /// The same, verified as `options` say.
    pub fn with_options(catalog: Catalog, store: BlobStore, options: UploadOptions) -> Self {
        let (settled, _) = watch::channel(0);
        Self(Arc::new(Inner { catalog, store, options, wake: Notify::new(), settled }))
    }

    /// Begins an upload, goes on with an open one of the same file, or says that the bytes are there.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn begin(&self, new: NewUpload) -> Result<Begun, UploadError> {
        let Inner { catalog, store, .. } = &*self.0;
        let new = new.checked()?;
        let asset_id = new.asset_id()?;
        if let Some(asset) = stored_asset(catalog, store, &asset_id).await? {
            return Ok(Begun::Known(Box::new(asset)));
        }
        let open =
            catalog.open_upload_of(&asset_id, &new.name, &new.folder, new.size_bytes).await?;
        // One that the store knows nothing of any more is begun anew.
        if let Some(open) = open
            && let Some(upload) = self.with_parts(open).await?
            && matches!(upload.state, UploadState::Open | UploadState::Verifying)
        {
            return Ok(Begun::Upload(Box::new(upload)));
        }
        if catalog.open_uploads().await? >= OPEN_MAX {
            return Err(UploadError::TooMany);
        }
        let created_at = Timestamp::now();
        let id = new_id(&new, created_at);
        let key = keys::upload(&id);
        // So that a bucket can be read without its catalog.
        let name = utf8_percent_encode(&new.name, NON_ALPHANUMERIC).to_string();
        let metadata =
            BTreeMap::from([("sha256".to_owned(), new.sha256.clone()), ("name".to_owned(), name)]);
        let info = ObjectInfo { mime: new.mime.clone(), metadata };
        let store_upload = store.create_multipart(&key, &info).await?;
        let upload = Upload {
            id,
            name: new.name,
            folder: new.folder,
            size_bytes: new.size_bytes,
            asset_id,
            part_bytes: part_bytes(new.size_bytes),
            parts_done: Vec::new(),
            state: UploadState::Open,
            reason: None,
            created_at,
        };
        let modified_at = new.modified_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let row = UploadRow {
            upload,
            mime: new.mime,
            modified_at,
            store_upload,
            parts: Vec::new(),
            attempts: 0,
        };
        catalog.insert_upload(&row).await?;
        Ok(Begun::Upload(Box::new(row.upload)))
    }

    /// An upload with the parts that have arrived, or `None`.
    ///
    /// # Errors
    /// When the catalog or the store cannot be read.
    pub async fn find(&self, id: &UploadId) -> Result<Option<Upload>, UploadError> {
        let Some(row) = self.0.catalog.upload(id).await? else { return Ok(None) };
        self.with_parts(row).await
    }

    /// Uploads that are no assets yet, without their parts; the latest first.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<Upload>, UploadError> {
        let rows = self.0.catalog.unfinished_uploads().await?;
        Ok(rows.into_iter().map(|row| row.upload).collect())
    }

    /// Links for parts of an open upload.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn sign_parts(
        &self,
        id: &UploadId,
        numbers: &[u16],
    ) -> Result<Vec<PartLink>, UploadError> {
        let Inner { catalog, store, .. } = &*self.0;
        if numbers.is_empty() || numbers.len() > SIGN_MAX {
            let sentence = format!("numbers must name 1 to {SIGN_MAX} parts");
            return Err(UploadError::Bad(sentence));
        }
        let row = catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
        if row.upload.state != UploadState::Open {
            return Err(not_open(row.upload.state));
        }
        let key = keys::upload(id);
        let now = Timestamp::now();
        let mut links = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let (place, len_bytes) =
                PartNumber::new(number).zip(row.upload.part_len(number)).ok_or_else(|| {
                    let count = row.upload.part_count();
                    UploadError::Bad(format!("there is no part {number}: parts are 1 to {count}"))
                })?;
            let part = (&row.store_upload, place);
            let url = store.presign_part(&key, part, len_bytes, PART_TTL, now).await?;
            links.push(PartLink { number, len_bytes, url });
        }
        catalog.touch_upload(id).await?;
        Ok(links)
    }

    /// Asks for an upload to be verified and made an asset; waits at most `patience` for it.
    ///
    /// `parts` may be left empty: then whatever the store has is taken. Asking again is fine.
    ///
    /// # Errors
    /// [`UploadError::Conflict`] when parts are missing; see [`UploadError`].
    pub async fn complete(
        &self,
        id: &UploadId,
        parts: &[UploadPart],
        patience: Duration,
    ) -> Result<Upload, UploadError> {
        let mut settled = self.0.settled.subscribe();
        let row = self.0.catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
        if row.upload.state == UploadState::Open
            && let Some(parts) = self.whole(&row, parts).await?
        {
            // Whoever else has asked meanwhile named the same parts.
            self.0.catalog.begin_verifying(id, &parts).await?;
            self.0.wake.notify_waiters();
        }
        let wait = async {
            loop {
                let row = self.0.catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
                if row.upload.state != UploadState::Verifying {
                    return Ok(row.upload);
                }
                let changed = tokio::time::timeout(SETTLED_ELSEWHERE, settled.changed()).await;
                if let Ok(Err(_)) = changed {
                    return Ok(row.upload);
                }
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let row = self.0.catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
                Ok(row.upload)
            }
        }
    }

    /// Ends an upload and removes what was sent; one that is done is only forgotten, and one that waits
    /// for its next attempt is not tried again.
    ///
    /// # Errors
    /// [`UploadError::Conflict`] while it is verified; see [`UploadError`].
    pub async fn abort(&self, id: &UploadId) -> Result<(), UploadError> {
        let catalog = &self.0.catalog;
        catalog.end_upload(id, catalog.now().await?).await?;
        let row = catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
        match row.upload.state {
            UploadState::Open | UploadState::Verifying => {
                return Err(UploadError::Conflict("it is being verified; wait for the end".into()));
            }
            UploadState::Failed => self.remove_sent(&row).await?,
            UploadState::Done => {}
        }
        catalog.forget_upload(id, row.upload.state).await?;
        Ok(())
    }

    /// Ends uploads that nobody came back to for 7 days, and forgets what became of old ones; removes what
    /// has been in the store for so long and is no upload's.
    ///
    /// # Errors
    /// When the catalog or the store fails; what was ended stays so.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, UploadError> {
        let Inner { catalog, store, .. } = &*self.0;
        let before = now - STALE;
        let stale = catalog.stale_uploads(before).await?;
        for row in &stale {
            let id = &row.upload.id;
            match self.abort(id).await {
                Ok(()) if row.upload.state == UploadState::Open => {
                    info!(upload = %id, "upload {id} was left for 7 days and is ended");
                }
                // Somebody came back to it just now.
                Ok(()) | Err(UploadError::NotFound | UploadError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // Begun in the store by a process that ended before it wrote the row, or while it moved one or sent
        // a long file.
        let known: HashSet<_> =
            catalog.uploads_in_store().await?.iter().map(keys::upload).collect();
        let mut orphans = store.abort_multiparts(keys::ORIGINALS, before, &known).await?;
        orphans += store.abort_multiparts(keys::DERIVED, before, &known).await?;
        orphans += sweep_staged(store, before, &known).await?;
        Ok(stale.len() as u64 + orphans)
    }

    /// Makes an asset of a small file that came through this process.
    ///
    /// # Errors
    /// [`UploadError::NotMedia`]; see [`UploadError`].
    pub async fn add_file(
        &self,
        path: &Path,
        name: &str,
        folder: &str,
    ) -> Result<AssetId, UploadError> {
        let Inner { catalog, store, .. } = &*self.0;
        let read_error = |source| BlobError::File { action: "read", what: name.to_owned(), source };
        let new = NewUpload {
            name: name.to_owned(),
            size_bytes: tokio::fs::metadata(path).await.map_err(read_error)?.len(),
            // Nobody announces one.
            sha256: "0".repeat(64),
            mime: String::new(),
            folder: folder.to_owned(),
            modified_ms: None,
        };
        let new = new.checked()?;
        let (path_of_it, name_of_it) = (path.to_owned(), name.to_owned());
        let look = move || facts::of_file(fs::File::open(path_of_it)?, &name_of_it, |_| ());
        let facts = tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other);
        let facts = facts.flatten().map_err(read_error)?.ok_or(UploadError::NotMedia)?;
        if stored_asset(catalog, store, &facts.id).await?.is_some() {
            return Ok(facts.id);
        }
        let key = keys::original(&facts.id);
        keep_object(catalog, &key).await?;
        store.put_file(&key, path, &facts.mime).await?;
        let now = NewAsset::new(facts.id.clone(), &new.name, facts.len_bytes, &facts.mime);
        let asset = NewAsset {
            folder: new.folder,
            created_at: facts.metadata.taken_at.unwrap_or(now.created_at),
            metadata: facts.metadata,
            ..now
        };
        if catalog.add_asset(&asset).await? == Added::Known {
            catalog.original_found(&facts.id, &key).await?;
        }
        Ok(facts.id)
    }

    /// Adds what the store has; forgets an open upload that the store knows nothing of.
    async fn with_parts(&self, row: UploadRow) -> Result<Option<Upload>, UploadError> {
        let Inner { catalog, store, .. } = &*self.0;
        let mut upload = row.upload;
        if upload.state == UploadState::Open {
            let key = keys::upload(&upload.id);
            let Some(parts) = store.list_parts(&key, &row.store_upload).await? else {
                if catalog.forget_upload(&upload.id, UploadState::Open).await? {
                    return Ok(None);
                }
                // Nor does it know one that somebody else has completed meanwhile.
                return Ok(catalog.upload(&upload.id).await?.map(|row| row.upload));
            };
            let parts = parts.into_iter().map(|part| UploadPart {
                number: part.number.get(),
                etag: part.etag,
                size_bytes: part.len_bytes,
            });
            // A part of another length was never signed; whatever it is, it has to be sent again.
            upload.parts_done = parts
                .filter(|part| upload.part_len(part.number) == Some(part.size_bytes))
                .collect();
        }
        Ok(Some(upload))
    }

    /// Every part, as the store has it; a caller's etags have to be the store's. `None` when it is not
    /// open any more.
    async fn whole(
        &self,
        row: &UploadRow,
        named: &[UploadPart],
    ) -> Result<Option<Vec<UploadPart>>, UploadError> {
        let stored = self.with_parts(row.clone()).await?.ok_or(UploadError::NotFound)?;
        if stored.state != UploadState::Open {
            return Ok(None);
        }
        let bare = |etag: &str| etag.trim_matches('"').to_owned();
        for part in named {
            let stored = stored.parts_done.iter().find(|stored| stored.number == part.number);
            if stored.is_some_and(|stored| bare(&stored.etag) != bare(&part.etag)) {
                let sentence = format!("part {} has another etag; send it again", part.number);
                return Err(UploadError::Conflict(sentence));
            }
        }
        let is_there = |number: &u16| stored.parts_done.iter().any(|part| part.number == *number);
        let missing: Vec<String> = (1..=stored.part_count())
            .filter(|number| !is_there(number))
            .take(10)
            .map(|number| number.to_string())
            .collect();
        if !missing.is_empty() {
            let sentence = format!("parts are missing: {}", missing.join(", "));
            return Err(UploadError::Conflict(sentence));
        }
        Ok(Some(stored.parts_done))
    }

    /// Removes what was sent of an upload that nobody verifies.
    async fn remove_sent(&self, row: &UploadRow) -> Result<(), BlobError> {
        let key = keys::upload(&row.upload.id);
        self.0.store.abort_multipart(&key, &row.store_upload).await?;
        self.0.store.delete(&key).await
    }
}

/// Removes objects that were put together, or copied, by a process that ended before it moved them; how many.
async fn sweep_staged(
    store: &BlobStore,
    before: Timestamp,
    known: &HashSet<BlobKey>,
) -> Result<u64, BlobError> {
    let (mut swept, mut start_after) = (0, None);
    loop {
        let page = store.list(keys::UPLOADS, start_after.as_deref(), LIST_LIMIT_MAX).await?;
        for ListedObject { key, meta } in page.objects {
            if meta.modified.is_some_and(|at| at < before) && !known.contains(&key) {
                store.delete(&key).await?;
                swept += 1;
            }
        }
        start_after = page.next;
        if start_after.is_none() {
            return Ok(swept);
        }
    }
}

/// The asset of these bytes, if its original is there; it is taken out of the trash.
async fn stored_asset(
    catalog: &Catalog,
    store: &BlobStore,
    id: &AssetId,
) -> Result<Option<Asset>, UploadError> {
    let Some(asset) = catalog.asset(id).await? else { return Ok(None) };
    let Ok(key) = asset.key.parse() else { return Ok(None) };
    if store.head(&key).await?.is_none() {
        return Ok(None);
    }
    if asset.trashed_at.is_none() {
        return Ok(Some(asset));
    }
    // Who sends it wants it. None of it is left to restore if the trash was emptied meanwhile, and its
    // original goes too.
    match catalog.restore(std::slice::from_ref(&asset.id)).await? {
        0 => Ok(None),
        _ => Ok(catalog.asset(&asset.id).await?),
    }
}

fn not_open(state: UploadState) -> UploadError {
    UploadError::Conflict(
        match state {
            UploadState::Open | UploadState::Verifying => {
                "all parts were sent; they are being verified"
            }
            UploadState::Done => "it is an asset already",
            UploadState::Failed => "it has failed; begin again",
        }
        .to_owned(),
    )
}

/// Not a secret: only operators may use it.
fn new_id(new: &NewUpload, at: Timestamp) -> UploadId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (nanos, pid) = (at.as_nanosecond(), std::process::id());
    let text = format!("{}|{}|{}|{nanos}|{pid}|{count}", new.sha256, new.name, new.folder);
    let mut hex = hex::encode(Sha256::digest(text));
    hex.truncate(32);
    hex.parse().expect("32 hex digits are an id")
}
