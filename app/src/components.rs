//! Pieces that pages share.

mod camera_form;
mod card;
mod error_notice;
mod header;
mod tile;

pub use camera_form::{CameraFields, FormNotice};
pub use card::{AssetCard, KindIcon};
pub use error_notice::ErrorNotice;
pub use header::Header;
pub use tile::{CameraTile, Standing, solo_path};
