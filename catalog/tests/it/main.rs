//! The catalog as its callers see it, with real media, real child processes, a real S3 server and a real PostgreSQL.

// Clippy knows a test by its attribute; the helpers beside them are tests as well.
#![allow(clippy::unwrap_used)]

mod blob_stores;
mod cameras;
mod changes;
#[allow(dead_code, reason = "the server's tests use the rest")]
mod database;
mod fixture;
mod hostile;
mod imports;
mod killed;
mod library;
#[allow(dead_code, reason = "the server's tests use the rest")]
mod links;
mod locks;
mod media;
mod paging;
mod reconciles;
mod renditions;
mod store_suite;
mod thumbs;
mod uploads;
mod verifiers;
mod watches;
#[allow(dead_code, reason = "the server's tests use the rest")]
mod weed;
