//! Shapes of what `domain` puts on the wire, for the description alone: `domain` is compiled for browsers
//! too and knows nothing of OpenAPI. A test holds them against what is really sent.

#![allow(dead_code, reason = "only their derived descriptions are used")]

use utoipa::{IntoParams, ToSchema};

/// One original in the blob store and what the catalog knows about it.
#[derive(ToSchema)]
pub(crate) struct Asset {
    /// Name by content: `sha256:` and 64 hex digits.
    id: String,
    /// Object key in the blob store.
    key: String,
    /// File name.
    name: String,
    /// Bytes.
    size: u64,
    /// SHA-256 of the original, 64 hex digits.
    hash: String,
    /// MIME type.
    mime: String,
    kind: AssetKind,
    /// Slash-separated, empty at the top.
    folder: String,
    labels: Vec<String>,
    /// When it was taken or written.
    #[schema(format = DateTime)]
    created_at: String,
    /// Host it came from.
    source_node: Option<String>,
    /// Path it had there.
    origin_path: Option<String>,
    /// Name in another system.
    external_ref: Option<String>,
    /// As displayed.
    width_px: Option<u32>,
    /// As displayed.
    height_px: Option<u32>,
    /// Playing time.
    duration_ms: Option<u64>,
    thumb: Thumb,
    /// Codec of the picture or sound, as ffprobe names it.
    codec: Option<String>,
    /// Camera that recorded it.
    camera: Option<String>,
    /// Since when it has been in the trash.
    #[schema(format = DateTime)]
    trashed_at: Option<String>,
    /// A few bytes that look like it, base64.
    thumbhash: Option<String>,
    /// What was derived from it.
    renditions: Vec<Rendition>,
    /// Whether it is a recording that is still being written.
    recording: bool,
}

/// What an asset is to a person looking for it.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum AssetKind {
    Image,
    Video,
    Audio,
    Other,
}

/// Where an asset's thumbnails stand. `url_320`, `url_640` and the size of the smaller one come with
/// `ready`, `reason` with `failed`.
#[derive(ToSchema)]
pub(crate) struct Thumb {
    state: ThumbState,
    #[schema(required = false)]
    url_320: String,
    #[schema(required = false)]
    url_640: String,
    #[schema(required = false)]
    width_px: u32,
    #[schema(required = false)]
    height_px: u32,
    #[schema(required = false)]
    reason: String,
}

/// See [`Thumb`].
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ThumbState {
    Pending,
    Ready,
    Failed,
    None,
}

/// Something derived from an original. The bytes behind its URL never change.
#[derive(ToSchema)]
pub(crate) struct Rendition {
    kind: String,
    /// Path on this server.
    url: String,
    mime: String,
    size_bytes: u64,
    width_px: Option<u32>,
    height_px: Option<u32>,
}

/// A job that derives something from an original.
#[derive(ToSchema)]
pub(crate) struct JobStatus {
    /// Id of the asset.
    asset: String,
    kind: String,
    /// `pending`, `running`, `done` or `failed`.
    state: String,
    progress_percent: Option<u8>,
    /// A sentence: why it failed, or why it is tried again.
    reason: Option<String>,
    /// Attempts begun.
    attempts: u32,
}

/// A job in a list.
#[derive(ToSchema)]
pub(crate) struct JobListing {
    #[serde(flatten)]
    job: JobStatus,
    /// File name of the asset.
    asset_name: String,
}

/// A page of assets.
#[derive(ToSchema)]
pub(crate) struct AssetPage {
    items: Vec<Asset>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    next_cursor: Option<String>,
}

/// Some days and how many assets came into being on them.
#[derive(ToSchema)]
pub(crate) struct DateBucket {
    /// First day, in UTC.
    #[schema(format = Date)]
    from: String,
    /// Last day.
    #[schema(format = Date)]
    to: String,
    count: u64,
}

/// What is left out stays.
#[derive(ToSchema)]
pub(crate) struct AssetPatch {
    /// File name: 1 to 255 bytes, no slash.
    name: Option<String>,
    /// Folder of the library; empty is the top.
    folder: Option<String>,
    /// All of its labels.
    labels: Option<Vec<String>>,
}

/// What an original says of itself; none of it is proven.
#[derive(ToSchema)]
pub(crate) struct Metadata {
    #[schema(format = DateTime)]
    taken_at: Option<String>,
    /// How the stored picture is to be turned, 1 to 8, as EXIF has it.
    orientation: Option<u8>,
    camera_make: Option<String>,
    camera_model: Option<String>,
    lens: Option<String>,
    exposure_secs: Option<f64>,
    f_number: Option<f64>,
    iso: Option<u32>,
    focal_length_mm: Option<f64>,
    /// Pictures a second of a video.
    fps: Option<f64>,
    /// Samples a second of a sound, or of a video's.
    sample_rate_hz: Option<u32>,
    /// Only if `library.show_location` is set.
    #[schema(required = false)]
    location: Location,
}

/// In degrees.
#[derive(ToSchema)]
pub(crate) struct Location {
    latitude: f64,
    longitude: f64,
}

/// A folder that assets lie in, or below.
#[derive(ToSchema)]
pub(crate) struct FolderInfo {
    path: String,
    /// Assets in it.
    assets: u64,
    /// Assets in folders below it.
    below: u64,
}

/// A label that assets bear.
#[derive(ToSchema)]
pub(crate) struct TagInfo {
    tag: String,
    assets: u64,
}

/// Values that there are to filter by.
#[derive(ToSchema)]
pub(crate) struct Facets {
    cameras: Vec<String>,
    codecs: Vec<String>,
}

/// Assets that somebody put together.
#[derive(ToSchema)]
pub(crate) struct Collection {
    id: i64,
    title: String,
    assets: u64,
}

/// A filter that somebody keeps.
#[derive(ToSchema)]
pub(crate) struct SavedFilter {
    id: i64,
    title: String,
    /// In its one spelling, without `sort`, `limit` and `after`.
    query: String,
}

/// Which assets.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AssetFilter {
    /// Words of name, folder and labels; each may be the beginning of one.
    q: Option<String>,
    /// Any of these kinds.
    #[param(inline)]
    kind: Option<Vec<AssetKind>>,
    /// Any of these labels.
    tag: Option<Vec<String>>,
    /// Any of these folders, with all below them.
    folder: Option<Vec<String>>,
    /// Recorded by any of these cameras.
    camera: Option<Vec<String>>,
    /// Any of these codecs.
    codec: Option<Vec<String>>,
    /// First day, in UTC.
    #[param(format = Date)]
    from: Option<String>,
    /// Last day, in UTC.
    #[param(format = Date)]
    to: Option<String>,
    /// Bytes.
    min_size: Option<u64>,
    /// Bytes.
    max_size: Option<u64>,
    /// Milliseconds.
    min_duration: Option<u64>,
    /// Milliseconds.
    max_duration: Option<u64>,
    /// Pixels.
    min_width: Option<u64>,
    /// Pixels.
    max_width: Option<u64>,
    /// Pixels.
    min_height: Option<u64>,
    /// Pixels.
    max_height: Option<u64>,
    /// Only members of this collection.
    collection: Option<i64>,
    /// `1`: what is in the trash, instead of what is not.
    trashed: Option<u8>,
    /// `1`: only assets one of whose jobs was given up.
    failed: Option<u8>,
}

/// Which assets, in which order, and which page of them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Order.
    #[param(inline)]
    sort: Option<Sort>,
    /// 1 to 500; 60 unless given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, in the same order.
    after: Option<String>,
}

/// Orders of a list.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Sort {
    Newest,
    Oldest,
    Name,
    Largest,
    Longest,
}

/// [`AssetFilter`] and [`Paging`].
pub(crate) struct AssetQuery;

impl IntoParams for AssetQuery {
    fn into_params(
        place: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        let mut params = AssetFilter::into_params(&place);
        params.extend(Paging::into_params(&place));
        params
    }
}

/// A file on its way into the store.
#[derive(ToSchema)]
pub(crate) struct Upload {
    /// Its name.
    id: String,
    /// File name.
    name: String,
    /// Empty at the top.
    folder: String,
    /// Bytes.
    size: u64,
    /// The asset it will be, or is.
    asset_id: String,
    /// Bytes of every part but the last.
    part_size: u64,
    /// Parts that have arrived; left out of lists.
    parts_done: Vec<UploadPart>,
    state: UploadState,
    /// Why it failed.
    reason: Option<String>,
    /// When it was begun.
    #[schema(format = DateTime)]
    created_at: String,
}

/// How far an upload has come.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum UploadState {
    Open,
    Verifying,
    Done,
    Failed,
}

/// A part that has arrived.
#[derive(ToSchema)]
pub(crate) struct UploadPart {
    /// From 1.
    number: u16,
    /// As the store answered its `PUT`.
    etag: String,
    /// Bytes.
    size: Option<u64>,
}

/// A file that is going to be sent.
#[derive(ToSchema)]
pub(crate) struct NewUpload {
    /// File name.
    name: String,
    /// Bytes.
    size: u64,
    /// 64 lower-case hex digits.
    sha256: String,
    /// As far as the sender knows.
    mime: Option<String>,
    /// Slash-separated, empty at the top.
    folder: Option<String>,
    /// When the file was last changed, Unix milliseconds.
    modified_ms: Option<i64>,
}

/// In the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct UploadIdParam {
    /// As `POST /api/uploads` gave it.
    id: String,
}

/// In the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AssetIdParam {
    /// `sha256:` and 64 hex digits.
    id: String,
}

/// In the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct NumberIdParam {
    /// 1 or more.
    id: i64,
}

/// In the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct CameraIdParam {
    /// 1 to 64 of `a-z 0-9 - _`.
    id: String,
}

/// What a camera is configured to be.
#[derive(ToSchema)]
pub(crate) struct CameraDefinition {
    id: String,
    /// The id if left out.
    name: Option<String>,
    /// Left out of a change, it stays as it was.
    url: Option<String>,
    /// Empty takes it away.
    sub_url: Option<String>,
    #[schema(required = false)]
    on_demand: bool,
    #[schema(required = false)]
    audio: bool,
    /// `tcp` or `udp`.
    #[schema(required = false)]
    rtsp_transport: String,
}
