//! Keeps the catalog true to a store that others write to: finds what is new, changed, moved and gone.
//!
//! Must not: run on a request path, move or change an object, delete a row because an object is gone,
//! or read again what it has read. It goes through the store's listing page by page and writes down
//! after each how far it has come, so that one cut off (SIGKILL too) goes on from there. It holds one
//! page in memory, whatever the bucket.
//!
//! Rules: an object whose bytes are an asset already is no second asset; if the asset's original is
//! gone, the asset follows to the object. An asset whose original is nowhere is marked missing, and
//! found again when it comes back. An object with other bytes than before is a new asset, which
//! inherits the labels, folder and collections of the one whose bytes are no more. A recording under way
//! is its recorder's alone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use domain::AssetId;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    blob::{BlobError, BlobKey, BlobStore, LIST_LIMIT_MAX, ListPage, ListedObject},
    db::{Added, Catalog, CatalogError, Checkpoint, NewAsset, ScannedObject},
    facts, keys,
};

/// Rows of the catalog compared at a time.
const COMPARED_ROWS: u32 = 1000;
/// Failures whose sentences are kept; more are counted.
const MAX_FAILURES: usize = 100;
/// An object gone for longer is forgotten: if it comes back, it is read again.
const REMEMBER_GONE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How to look through a store.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// Objects listed at a time, at most [`LIST_LIMIT_MAX`].
    pub page_objects: usize,
    /// Objects read at a time.
    pub parallel: usize,
    /// Where to begin.
    pub from: From,
    /// How long another process waits for this one after it was last heard of.
    pub lease: Duration,
    /// Names this process among those that share a catalog.
    pub owner: String,
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self {
            page_objects: LIST_LIMIT_MAX,
            parallel: 2,
            from: From::Checkpoint,
            lease: Duration::from_secs(15),
            owner: format!("{}-{:016x}", std::process::id(), rand_u64()),
        }
    }
}

/// Where a look begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Where the last one was cut off; at the beginning if it was not.
    Checkpoint,
    /// At the beginning, and whichever store it is.
    Beginning,
}

/// What a look did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReconcileSummary {
    /// Objects in the listing.
    pub listed: u64,
    /// New assets.
    pub registered: u64,
    /// Objects that an earlier look has read, whose bytes are an asset already, or that a camera still
    /// writes.
    pub already_there: u64,
    /// Objects that are no picture, video or sound.
    pub skipped: u64,
    /// Assets that follow their original to another key.
    pub moved: u64,
    /// Assets whose original is nowhere any more.
    pub missing: u64,
    /// Missing ones that are back.
    pub found_again: u64,
    /// Objects that could not be read; the next look tries them again.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<FailedObject>,
}

impl ReconcileSummary {
    fn fail(&mut self, key: String, reason: String) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(FailedObject { key, reason });
        }
    }

    /// Whether the catalog was changed.
    pub fn is_change(&self) -> bool {
        self.registered + self.moved + self.missing + self.found_again > 0
    }
}

/// An object that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedObject {
    /// Its key.
    pub key: String,
    /// A sentence.
    pub reason: String,
}

/// Why a look could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store could not be listed.
    #[error(transparent)]
    Store(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Another process is at it.
    #[error("another process is looking through the store")]
    Busy,
    /// The folder is not the one that the catalog is of.
    #[error(
        "the store's folder is not the one that was looked through before; is it mounted? If it was \
         replaced on purpose, `damwall reindex` takes it as it is"
    )]
    OtherStore,
}

/// What became of one object.
enum Outcome {
    Registered,
    AlreadyThere,
    /// To where its bytes are now; it may have been missing.
    Moved {
        missing_since: Option<Timestamp>,
    },
    Skipped,
}

/// Goes through the store's listing and brings the catalog in line with it; `on_page` hears after each
/// page how far it has come.
///
/// # Errors
/// When the store cannot be listed, the catalog fails, or another process is at it. What was done
/// stays; the next look goes on from there.
pub async fn reconcile(
    catalog: &Catalog,
    store: &BlobStore,
    options: &ReconcileOptions,
    on_page: impl FnMut(&ReconcileSummary),
) -> Result<ReconcileSummary, ReconcileError> {
    // A folder that is not mounted would look like one from which all is gone.
    store.ping().await?;
    let lease_ms = i64::try_from(options.lease.as_millis()).unwrap_or(i64::MAX);
    let anew = options.from == From::Beginning;
    let claimed = catalog.claim_reconcile(&options.owner, lease_ms, anew).await?;
    let checkpoint = claimed.ok_or(ReconcileError::Busy)?;
    if let BlobStore::Folder(folder) = store
        && !catalog.is_same_store(folder.id(), anew).await?
    {
        catalog.release_reconcile(&options.owner).await?;
        return Err(ReconcileError::OtherStore);
    }
    // As exact as the catalog's times.
    let started = Timestamp::from_millisecond(Timestamp::now().as_millisecond());
    let started = started.unwrap_or_else(|_| Timestamp::now());
    let look = Look { catalog, store, options, started };
    // Both go on at once: a renewal may have to wait for a transaction of the work to end.
    let renewal = async {
        let period = options.lease / 3;
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        loop {
            ticks.tick().await;
            if !catalog.renew_reconcile(&options.owner, lease_ms).await? {
                return Err(ReconcileError::Busy);
            }
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = look.go_through(checkpoint, on_page) => outcome,
        lost = renewal => return lost,
    };
    if outcome.is_err() {
        // The lease ends by itself too.
        drop(catalog.release_reconcile(&options.owner).await);
    }
    outcome
}

/// Looks at one object right away, as somebody says that it has changed.
///
/// # Errors
/// When the store or the catalog fails; the next look through the store makes up for it.
pub async fn reconcile_key(
    catalog: &Catalog,
    store: &BlobStore,
    key: &BlobKey,
) -> Result<(), ReconcileError> {
    if catalog.is_being_recorded(key).await? {
        return Ok(());
    }
    match store.head(key).await? {
        Some(meta) if !keys::is_own(key.as_str()) => {
            let object = ListedObject { key: key.clone(), meta };
            let is_same =
                catalog.scanned_object(key).await?.is_some_and(|known| known.is_same(&object));
            if !is_same {
                examine(catalog, store, &object).await?;
            }
        }
        Some(_) => {}
        None => {
            catalog.set_gone(key, true).await?;
            if let Some(asset) = catalog.asset_at(key).await? {
                settle_lost(catalog, store, &asset, key).await?;
            }
        }
    }
    Ok(())
}

/// What a page of the listing has told.
struct Listed {
    keys: HashSet<String>,
    /// Folders, each ending in a slash.
    unreadable: Vec<String>,
}

impl Listed {
    /// Whether nothing can be told of an object: it is in a folder that this process may not read.
    fn is_hidden(&self, key: &BlobKey) -> bool {
        self.unreadable.iter().any(|folder| key.as_str().starts_with(folder))
    }
}

/// What all pages of one look share.
struct Look<'a> {
    catalog: &'a Catalog,
    store: &'a BlobStore,
    options: &'a ReconcileOptions,
    started: Timestamp,
}

impl Look<'_> {
    async fn go_through(
        &self,
        mut checkpoint: Checkpoint,
        mut on_page: impl FnMut(&ReconcileSummary),
    ) -> Result<ReconcileSummary, ReconcileError> {
        let mut summary = ReconcileSummary::default();
        let owner = &self.options.owner;
        loop {
            let start_after = checkpoint.start_after.as_deref();
            let page = self.store.list("", start_after, self.options.page_objects).await?;
            let next = page.next.clone();
            // Some stores list a folder before the files beside it, so the last key need not be the highest.
            let highest = page.objects.iter().map(|object| object.key.as_str()).max();
            let checked_to = highest
                .filter(|highest| *highest > checkpoint.checked_to.as_str())
                .unwrap_or(&checkpoint.checked_to)
                .to_owned();
            let to = next.is_some().then_some(checked_to.as_str());
            self.take_in(page, &checkpoint.checked_to, to, &mut summary).await?;
            on_page(&summary);
            checkpoint = Checkpoint { start_after: next, checked_to };
            if checkpoint.start_after.is_none() {
                let forget = Timestamp::now() - REMEMBER_GONE;
                self.catalog.finish_reconcile(owner, forget.as_millisecond()).await?;
                return Ok(summary);
            }
            self.catalog.save_checkpoint(owner, &checkpoint).await?;
        }
    }

    /// One page of the listing; `after` and `to` bound the keys that it is compared with.
    async fn take_in(
        &self,
        page: ListPage,
        after: &str,
        to: Option<&str>,
        summary: &mut ReconcileSummary,
    ) -> Result<(), ReconcileError> {
        for folder in &page.unreadable {
            summary.fail(folder.clone(), "This process may not read the folder.".to_owned());
        }
        summary.listed += page.objects.len() as u64;
        let listed = page.objects.iter().map(|object| object.key.to_string()).collect();
        let listed = Listed { keys: listed, unreadable: page.unreadable };
        let mut known = self.compare_scanned(&listed, after, to).await?;
        let mut changed = Vec::new();
        for object in page.objects {
            if keys::is_own(object.key.as_str()) {
                continue;
            }
            let known = match known.remove(&object.key) {
                // Listed out of order: what is known of it was passed on an earlier page.
                None if object.key.as_str() <= after => {
                    self.catalog.scanned_object(&object.key).await?
                }
                known => known,
            };
            let is_same = known.is_some_and(|known| known.is_same(&object));
            match is_same || self.catalog.is_being_recorded(&object.key).await? {
                true => summary.already_there += 1,
                false => changed.push(object),
            }
        }
        let mut examined = stream::iter(changed)
            .map(|object| {
                let (catalog, store) = (self.catalog.clone(), self.store.clone());
                async move {
                    let outcome = examine(&catalog, &store, &object).await;
                    (object.key, outcome)
                }
            })
            .buffer_unordered(self.options.parallel.max(1));
        while let Some((key, outcome)) = examined.next().await {
            match outcome {
                Ok(Outcome::Registered) => summary.registered += 1,
                Ok(Outcome::AlreadyThere) => summary.already_there += 1,
                Ok(Outcome::Moved { missing_since }) => {
                    summary.moved += 1;
                    // Its old key came before: this look has taken it for missing until now.
                    if missing_since.is_some_and(|since| since >= self.started) {
                        summary.missing = summary.missing.saturating_sub(1);
                    }
                }
                Ok(Outcome::Skipped) => summary.skipped += 1,
                Err(ReconcileError::Store(error)) => {
                    summary.fail(key.to_string(), format!("It cannot be read: {error}."));
                }
                Err(other) => return Err(other),
            }
        }
        drop(examined);
        self.find_lost_originals(&listed, after, to, summary).await
    }

    /// What earlier looks wrote down about the listed objects between the two keys; notes which of
    /// the others are gone.
    async fn compare_scanned(
        &self,
        listed: &Listed,
        after: &str,
        to: Option<&str>,
    ) -> Result<HashMap<BlobKey, ScannedObject>, ReconcileError> {
        let (mut known, mut after) = (HashMap::new(), after.to_owned());
        loop {
            let rows = self.catalog.scanned_between(&after, to, COMPARED_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(known) };
            after = last.key.to_string();
            for row in rows.into_iter().filter(|row| !listed.is_hidden(&row.key)) {
                let is_listed = listed.keys.contains(row.key.as_str());
                if is_listed && row.is_gone {
                    self.catalog.set_gone(&row.key, false).await?;
                } else if !is_listed && !row.is_gone && self.store.head(&row.key).await?.is_none() {
                    self.catalog.set_gone(&row.key, true).await?;
                }
                if is_listed {
                    known.insert(row.key.clone(), row);
                }
            }
        }
    }

    /// Assets whose originals are in the listing no more, or again.
    async fn find_lost_originals(
        &self,
        listed: &Listed,
        after: &str,
        to: Option<&str>,
        summary: &mut ReconcileSummary,
    ) -> Result<(), ReconcileError> {
        let mut after = after.to_owned();
        loop {
            let rows = self.catalog.originals_between(&after, to, COMPARED_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.key.to_string();
            for row in rows.iter().filter(|row| !listed.is_hidden(&row.key)) {
                let is_there = listed.keys.contains(row.key.as_str())
                    // Known to be missing, or else the listing may have been read before it was written.
                    || !row.is_missing && self.store.head(&row.key).await?.is_some();
                match (is_there, row.is_missing) {
                    (true, true) => {
                        self.catalog.original_found(&row.asset, &row.key).await?;
                        summary.found_again += 1;
                    }
                    (true, false) | (false, true) => {}
                    (false, false) => {
                        match settle_lost(self.catalog, self.store, &row.asset, &row.key).await? {
                            Lost::Follows => summary.moved += 1,
                            Lost::Missing => summary.missing += 1,
                        }
                    }
                }
            }
        }
    }
}

/// What became of an asset whose original is not where it was.
enum Lost {
    Follows,
    Missing,
}

/// Lets an asset follow to another object of the same bytes, or marks it missing.
async fn settle_lost(
    catalog: &Catalog,
    store: &BlobStore,
    asset: &AssetId,
    key: &BlobKey,
) -> Result<Lost, ReconcileError> {
    for copy in catalog.copies(asset, key).await?.into_iter().chain([keys::original(asset)]) {
        if copy != *key && store.head(&copy).await?.is_some() {
            catalog.original_found(asset, &copy).await?;
            return Ok(Lost::Follows);
        }
    }
    // A store that went away meanwhile has nothing any more.
    store.ping().await?;
    tracing::info!(asset = %asset, key = %key, "the original of {asset} is not at {key} any more");
    catalog.mark_missing(asset).await?;
    Ok(Lost::Missing)
}

/// Reads an object that is new or has changed.
async fn examine(
    catalog: &Catalog,
    store: &BlobStore,
    object: &ListedObject,
) -> Result<Outcome, ReconcileError> {
    let key = &object.key;
    let read_error = |source| BlobError::File { action: "read", what: key.to_string(), source };
    let (_, reader) = store.open(key).await?;
    let Some(facts) = facts::of_stream(reader, key.name()).await.map_err(read_error)? else {
        catalog.record_object(object, Err("no picture, video or sound")).await?;
        return Ok(Outcome::Skipped);
    };
    if facts.len_bytes != object.meta.len_bytes {
        let source = std::io::Error::other("its length is not the one listed");
        return Err(read_error(source).into());
    }
    let id = facts.id;
    rescue_replaced(catalog, store, &id, key).await?;
    let modified = object.meta.modified.unwrap_or_else(Timestamp::now);
    let added = catalog
        .add_asset(&NewAsset {
            id: id.clone(),
            key: key.clone(),
            name: key.name().to_owned(),
            size_bytes: facts.len_bytes,
            mime: facts.mime,
            folder: key.folder().to_owned(),
            created_at: facts.metadata.taken_at.unwrap_or(modified),
            source_node: None,
            origin_path: None,
            metadata: facts.metadata,
        })
        .await?;
    catalog.record_object(object, Ok(&id)).await?;
    if added == Added::New {
        return Ok(Outcome::Registered);
    }
    // The bytes are an asset already: this is a copy of its original, or where it was moved to.
    let Some(asset) = catalog.asset(&id).await? else { return Ok(Outcome::AlreadyThere) };
    let is_elsewhere = asset.key != key.as_str();
    let is_there = match asset.key.parse() {
        Ok(old) => store.head(&old).await?.is_some(),
        Err(_) => false,
    };
    if is_elsewhere && !is_there {
        let missing_since = catalog.missing_since(&id).await?;
        catalog.original_found(&id, key).await?;
        return Ok(Outcome::Moved { missing_since });
    }
    Ok(Outcome::AlreadyThere)
}

/// An asset whose object has other bytes by now lives on if there is a copy of its own somewhere; if
/// not, the asset of the new bytes will take its place, with what people gave it.
async fn rescue_replaced(
    catalog: &Catalog,
    store: &BlobStore,
    id: &AssetId,
    key: &BlobKey,
) -> Result<(), ReconcileError> {
    let Some(replaced) = catalog.asset_at(key).await?.filter(|replaced| replaced != id) else {
        return Ok(());
    };
    for copy in catalog.copies(&replaced, key).await? {
        if store.head(&copy).await?.is_some() {
            catalog.original_found(&replaced, &copy).await?;
            break;
        }
    }
    Ok(())
}

/// Tells processes of one number apart, such as those in containers.
fn rand_u64() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}
