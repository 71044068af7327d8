//! The words shared by browser and server: ids, assets, cameras, pages, roles.
//!
//! Must not: do I/O, read a clock, or depend on anything that does not compile to wasm.

mod access;
mod asset;
mod camera;
mod library;
mod metadata;
mod names;
mod page;
mod query;
mod rendition;
mod upload;

pub use access::Role;
pub use asset::{Asset, AssetId, AssetKind, ParseAssetIdError, ParseAssetKindError, Thumb};
pub use camera::{
    CameraDefinition, CameraDetails, CameraId, CameraProbe, CameraState, CameraStatus, LayerStatus,
    ManagedBy, MediaSettings, ParseCameraIdError, ProbedTrack, RtspTransport, VideoParameters,
};
pub use library::{
    AssetPatch, Collection, CollectionId, DateBucket, Facets, FolderInfo, ParseNumberIdError,
    SavedFilter, SavedFilterId, TagInfo, TrashId,
};
pub use metadata::{Location, Metadata};
pub use names::{AssetName, FolderPath, Label, ParseNameError, Title};
pub use page::{
    Cursor, CursorKey, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page, PageLimit, ParseCursorError,
    ParseSortError, Sort,
};
pub use query::{
    AssetFilter, AssetQuery, Bounds, QUERY_MAX_BYTES, QueryError, TEXT_MAX_CHARS, VALUES_MAX,
};
pub use rendition::{
    JobKind, JobListing, JobState, JobStatus, ParseWordError, Rendition, RenditionKind,
};
pub use upload::{
    NewUpload, NewUploadError, ParseUploadIdError, UPLOAD_MAX_BYTES, Upload, UploadId, UploadPart,
    UploadState, part_bytes, part_count, part_range,
};
