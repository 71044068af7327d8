//! Pieces that pages share.

mod camera_form;
mod card;
mod confirmed_form;
mod detail_list;
mod error_notice;
mod header;
mod job_row;
mod loaded;
mod notice;
mod tile;

pub use camera_form::{CameraFields, FormNotice};
pub use card::{AssetCard, KindIcon, Ticking, Tint};
pub use confirmed_form::ConfirmedForm;
pub use detail_list::DetailList;
pub use error_notice::ErrorNotice;
pub use header::Header;
pub use job_row::{JobRow, is_over};
pub use loaded::{Back, Loaded};
pub use notice::NoticeBar;
pub use tile::{CameraTile, Standing, solo_path};
