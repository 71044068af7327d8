//! Assets in SQL, originals and renditions in a blob store, and the jobs between them.
//!
//! Must not: know a camera, speak HTTP, or render a page. User bytes are decoded only in child
//! processes ([`worker`]); SQL stands only in `db`; object keys are built only in [`keys`].

pub mod blob;
mod child;
mod db;
mod hash;
pub mod import;
pub mod keys;
pub mod probe;
pub mod scan;
pub mod sniff;
pub mod thumbs;
pub mod worker;

pub use blob::{BlobError, BlobKey, BlobStore, Disposition, PresignGet};
pub use db::{Added, Catalog, CatalogError, Counts, NewAsset};
pub use import::{ImportOptions, ImportSummary, import_folder};
pub use scan::{ScanSummary, scan_store};
pub use thumbs::{ThumbWorker, ThumbWorkerOptions, thumb_bytes};
