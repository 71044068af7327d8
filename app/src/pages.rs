//! One module per page.

mod asset;
mod assets;
mod cameras;
mod live;
mod not_found;
mod publish;
mod refresh;

pub use asset::AssetPage;
pub use assets::AssetsPage;
pub use cameras::{CamerasPage, EditCameraPage, NewCameraPage};
pub use live::LivePage;
pub use not_found::NotFoundPage;
pub use publish::PublishPage;
