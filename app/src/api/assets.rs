//! Server functions that read assets: for viewers, by GET.

#[cfg(feature = "ssr")]
use base64::{Engine as _, prelude::BASE64_STANDARD};
#[cfg(feature = "ssr")]
use catalog::Tag;
use domain::{
    Asset, AssetKind, Collection, CollectionId, Cursor, DateBucket, Facets, FolderInfo, JobListing,
    JobStatus, Metadata, Rendition, Role, SavedFilter, TagInfo, Thumb,
};
#[cfg(feature = "ssr")]
use domain::{AssetId, AssetQuery, JobState};
use leptos::{prelude::*, server_fn::codec::GetUrl};
use serde::{Deserialize, Serialize};

use super::PageError;
#[cfg(feature = "ssr")]
use super::response;
#[cfg(feature = "ssr")]
use crate::{format, ssr::Backend};

/// Labels offered as filters at most, those that most assets bear; and folders.
#[cfg(feature = "ssr")]
const TICKS_MAX: usize = 40;
/// Folders and days shown at most.
#[cfg(feature = "ssr")]
const ROWS_MAX: usize = 400;
/// Jobs that run, and jobs that wait, shown at most.
#[cfg(feature = "ssr")]
const JOBS_MAX: u32 = 10;

/// An asset as a list shows it: a page of a hundred carries each of them twice, so no more than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its id.
    pub id: domain::AssetId,
    /// File name.
    pub name: String,
    /// Where it lies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// What it is.
    pub kind: AssetKind,
    /// Playing time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Width of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width_px: Option<u32>,
    /// Its picture.
    pub thumb: Thumb,
    /// Colour that stands for the picture while it loads, `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tint: Option<String>,
    /// Whether a camera still writes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
    /// Why jobs of it failed; only in a list of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The assets, in order.
    pub items: Vec<Card>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
    /// How many there are on all pages.
    pub total: u64,
    /// Some of the jobs that wait or run; only in a list of those whose jobs failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobListing>,
}

/// What there is to filter a list by, and what may be done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Who looks.
    pub role: Role,
    /// Folders right below the one that is looked at.
    pub folders: Vec<FolderInfo>,
    /// Folders to filter by: those beside the first that is chosen, or at the top.
    pub beside: Vec<FolderInfo>,
    /// Labels that most assets bear.
    pub tags: Vec<TagInfo>,
    /// Cameras and codecs.
    pub facets: Facets,
    /// Every collection.
    pub collections: Vec<Collection>,
    /// Filters that were kept.
    pub filters: Vec<SavedFilter>,
    /// How many assets came into being when, the latest first.
    pub days: Vec<DateBucket>,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            role: Role::Viewer,
            folders: Vec::new(),
            beside: Vec::new(),
            tags: Vec::new(),
            facets: Facets::default(),
            collections: Vec::new(),
            filters: Vec::new(),
            days: Vec::new(),
        }
    }
}

/// One asset and what may be done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetDetail {
    /// The asset.
    pub asset: Asset,
    /// Colour that stands for its picture while it loads, `#rrggbb`.
    pub tint: Option<String>,
    /// Who looks.
    pub role: Role,
    /// Every collection.
    pub collections: Vec<Collection>,
    /// Those that it is in.
    pub member_of: Vec<CollectionId>,
}

/// What was found in an asset and is made from it, and what is being done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    /// What the original says of itself, as far as viewers may know.
    pub metadata: Metadata,
    /// What there is.
    pub renditions: Vec<Rendition>,
    /// Every job of it.
    pub jobs: Vec<JobStatus>,
}

/// Every collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collections {
    /// Who looks.
    pub role: Role,
    /// In alphabetical order.
    pub items: Vec<Collection>,
}

#[cfg(feature = "ssr")]
fn parse_query(query: &str) -> Result<AssetQuery, PageError> {
    let query = AssetQuery::parse(query);
    response::or_status(query.map_err(|e| PageError::BadRequest(crate::address::sentence(&e))))
}

/// Says what an answer depends on: before that is read, so that a change in between is not missed.
#[cfg(feature = "ssr")]
fn note(tags: &[Tag]) -> Result<(), PageError> {
    let made_from = response::made_from()?;
    tags.iter().for_each(|tag| made_from.note(tag.clone()));
    Ok(())
}

#[cfg(feature = "ssr")]
fn parse_id(id: &str) -> Result<AssetId, PageError> {
    response::or_status(id.parse().map_err(|_| PageError::NotFound))
}

/// The average colour of an asset's picture; none for pictures that one can see through.
#[cfg(feature = "ssr")]
fn tint(asset: &Asset) -> Option<String> {
    let hash = BASE64_STANDARD.decode(asset.thumbhash.as_deref()?).ok()?;
    let (red, green, blue, alpha) = thumbhash::thumb_hash_to_average_rgba(&hash).ok()?;
    let byte = |part: f32| (part * 255.0).round() as u8;
    (alpha >= 1.0).then(|| format!("#{:02x}{:02x}{:02x}", byte(red), byte(green), byte(blue)))
}

#[cfg(feature = "ssr")]
impl From<Asset> for Card {
    fn from(asset: Asset) -> Self {
        let tint = tint(&asset);
        Self {
            id: asset.id,
            name: asset.name,
            folder: asset.folder,
            kind: asset.kind,
            duration_ms: asset.duration_ms,
            width_px: asset.width_px,
            thumb: asset.thumb,
            tint,
            recording: asset.recording,
            failures: Vec::new(),
        }
    }
}

/// One page of assets; `query` is what stands after `?` in the address of the API's list.
#[server(prefix = "/fn", endpoint = "assets", input = GetUrl)]
pub async fn list_assets(query: String) -> Result<Listing, PageError> {
    response::viewer().await?;
    let query = parse_query(&query)?;
    note(&[Tag::Assets])?;
    if query.filter.failed {
        note(&[Tag::Jobs])?;
    }
    let catalog = response::backend()?.catalog;
    if let Some(id) = query.filter.collection {
        note(&[Tag::Collections])?;
        let collections = response::or_unavailable(catalog.collections().await)?;
        let is_there = collections.iter().any(|collection| collection.id == id);
        response::or_status(is_there.then_some(()).ok_or(PageError::NotFound))?;
    }
    let (page, total) =
        tokio::join!(catalog.list_assets(&query), catalog.count_assets(&query.filter));
    let page = response::or_unavailable(page)?;
    let total = response::or_unavailable(total)?;
    for asset in &page.items {
        note(&[Tag::Asset(asset.id.clone())])?;
    }
    let mut items: Vec<Card> = page.items.into_iter().map(Card::from).collect();
    if query.filter.failed {
        for card in &mut items {
            let of =
                catalog::JobFilter { asset: Some(card.id.clone()), state: Some(JobState::Failed) };
            let jobs = catalog.jobs(&of, domain::JobKind::ALL.len() as u32, None).await;
            let reason = |listing: domain::JobListing| {
                let reason = listing.job.reason.unwrap_or_else(|| "no reason is known".to_owned());
                format!("{}: {reason}", format::job(listing.job.kind))
            };
            card.failures = response::or_unavailable(jobs)?.into_iter().map(reason).collect();
        }
    }
    let mut jobs = Vec::new();
    if query.filter.failed {
        for state in [JobState::Running, JobState::Pending] {
            let of = catalog::JobFilter { asset: None, state: Some(state) };
            jobs.extend(response::or_unavailable(catalog.jobs(&of, JOBS_MAX, None).await)?);
        }
    }
    Ok(Listing { items, next: page.next_cursor, total, jobs })
}

/// What there is to filter the list of that query by.
#[server(prefix = "/fn", endpoint = "library", input = GetUrl)]
pub async fn read_library(query: String) -> Result<Library, PageError> {
    response::viewer().await?;
    let role = response::access()?.role;
    let filter = parse_query(&query)?.filter;
    note(&[Tag::Assets, Tag::Folders, Tag::Tags, Tag::Collections, Tag::Filters])?;
    let catalog = response::backend()?.catalog;
    let folder = match &filter.folders[..] {
        [folder] => folder.clone(),
        _ => response::or_unavailable("".parse())?,
    };
    let beside = async {
        match filter.folders.first() {
            Some(first) => catalog.folders(&first.parent()).await.map(Some),
            // They are read for the top anyway.
            None => Ok(None),
        }
    };
    let (folders, beside, tags, facets, collections, filters, days) = tokio::join!(
        catalog.folders(&folder),
        beside,
        catalog.tags(),
        catalog.facets(),
        catalog.collections(),
        catalog.saved_filters(),
        catalog.buckets(&filter),
    );
    let mut tags = response::or_unavailable(tags)?;
    if tags.len() > TICKS_MAX {
        tags.sort_by(|a, b| b.assets.cmp(&a.assets).then_with(|| a.tag.cmp(&b.tag)));
        tags.truncate(TICKS_MAX);
        tags.sort_by(|a, b| a.tag.cmp(&b.tag));
    }
    let mut folders = response::or_unavailable(folders)?;
    // Folders stay when everything has left them.
    folders.retain(|folder| folder.assets + folder.below > 0);
    folders.truncate(ROWS_MAX);
    let mut beside = response::or_unavailable(beside)?.unwrap_or_else(|| folders.clone());
    beside.truncate(TICKS_MAX);
    let mut days = response::or_unavailable(days)?;
    days.truncate(ROWS_MAX);
    Ok(Library {
        role,
        folders,
        beside,
        tags,
        facets: response::or_unavailable(facets)?,
        collections: response::or_unavailable(collections)?,
        filters: response::or_unavailable(filters)?,
        days,
    })
}

/// One asset.
#[server(prefix = "/fn", endpoint = "asset", input = GetUrl)]
pub async fn find_asset(id: String) -> Result<AssetDetail, PageError> {
    response::viewer().await?;
    let role = response::access()?.role;
    let id = parse_id(&id)?;
    note(&[Tag::Asset(id.clone()), Tag::Collections])?;
    let catalog = response::backend()?.catalog;
    let asset = response::or_unavailable(catalog.asset(&id).await)?;
    let asset = response::or_status(asset.ok_or(PageError::NotFound))?;
    let (collections, member_of) =
        tokio::join!(catalog.collections(), catalog.collections_with(&asset.id));
    Ok(AssetDetail {
        tint: tint(&asset),
        asset,
        role,
        collections: response::or_unavailable(collections)?,
        member_of: response::or_unavailable(member_of)?,
    })
}

/// What was found in an asset, and is made from it.
#[server(prefix = "/fn", endpoint = "derived", input = GetUrl)]
pub async fn read_derived(id: String) -> Result<Derived, PageError> {
    response::viewer().await?;
    let id = parse_id(&id)?;
    // Whatever becomes of a job of it is told as a change of the asset.
    note(&[Tag::Asset(id.clone())])?;
    let Backend { catalog, show_location, .. } = response::backend()?;
    let filter = catalog::JobFilter { asset: Some(id.clone()), state: None };
    let (metadata, renditions, jobs) = tokio::join!(
        catalog.metadata(&id),
        catalog.renditions(&id),
        catalog.jobs(&filter, domain::JobKind::ALL.len() as u32, None),
    );
    let jobs = response::or_unavailable(jobs)?;
    let metadata = response::or_unavailable(metadata)?;
    Ok(Derived {
        metadata: Metadata { location: metadata.location.filter(|_| show_location), ..metadata },
        renditions: response::or_unavailable(renditions)?,
        jobs: jobs.into_iter().map(|listing| listing.job).collect(),
    })
}

/// Every collection.
#[server(prefix = "/fn", endpoint = "collections", input = GetUrl)]
pub async fn list_collections() -> Result<Collections, PageError> {
    response::viewer().await?;
    note(&[Tag::Collections])?;
    let role = response::access()?.role;
    let items = response::or_unavailable(response::backend()?.catalog.collections().await)?;
    Ok(Collections { role, items })
}
