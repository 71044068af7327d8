//! Assets in SQL, originals and renditions in a blob store, and the jobs between them.
//!
//! Must not: know a camera, speak HTTP, or render a page. User bytes are decoded only in child
//! processes ([`worker`]); SQL stands only in `db`; object keys are built only in [`keys`].

pub mod blob;
pub mod bucket_event;
pub mod changes;
mod child;
pub mod container;
mod db;
pub mod exif;
mod facts;
pub mod import;
pub mod jobs;
pub mod keys;
pub mod probe;
pub mod reconcile;
pub mod renditions;
mod settle;
pub mod sniff;
mod trash;
pub mod upload;
pub mod watch;
pub mod worker;

pub use blob::{BlobError, BlobKey, BlobStore, Disposition, PresignGet};
pub use changes::Tag;
pub use db::{
    Added, Catalog, CatalogError, CatalogUrl, Counts, FinishedRecording, JobFilter, Measures,
    NewAsset, NewRecording, ParseCatalogUrlError,
};
pub use import::{ImportOptions, ImportSummary, import_folder};
pub use jobs::{JobWorker, JobWorkerOptions};
pub use reconcile::{ReconcileOptions, ReconcileSummary, reconcile};
pub use renditions::read::{rendition_bytes, rendition_file_key};
pub use trash::{PurgeError, purge_asset, purge_trash};
pub use upload::{Begun, PartLink, UploadError, UploadOptions, Uploads};
