//! The words shared by browser and server: ids, assets, cameras, pages, roles.
//!
//! Must not: do I/O, read a clock, or depend on anything that does not compile to wasm.

mod access;
mod asset;
mod camera;
mod page;

pub use access::Role;
pub use asset::{Asset, AssetId, AssetKind, ParseAssetIdError, Thumb};
pub use camera::{
    CameraDefinition, CameraDetails, CameraId, CameraProbe, CameraState, CameraStatus, LayerStatus,
    ManagedBy, ParseCameraIdError, ProbedTrack, RtspTransport, VideoParameters,
};
pub use page::{Cursor, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page, PageLimit, ParseCursorError};
