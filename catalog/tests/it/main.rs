//! The catalog as its callers see it, with real media, real child processes and a real S3 server.

// Clippy knows a test by its attribute; the helpers beside them are tests as well.
#![allow(clippy::unwrap_used)]

mod blob_stores;
mod cameras;
mod fixture;
mod imports;
mod media;
mod paging;
mod scans;
mod thumbs;
mod weed;
