//! Pieces that pages share.

mod card;
mod error_notice;
mod header;
mod tile;

pub use card::{AssetCard, KindIcon};
pub use error_notice::ErrorNotice;
pub use header::Header;
pub use tile::CameraTile;
