//! One module per page, and the parts that their code is loaded in.

mod asset;
mod assets;
mod cameras;
mod collections;
mod live;
mod not_found;
mod part;
mod publish;
mod upload;

use asset::AssetPage;
use assets::AssetsPage;
use cameras::{CamerasPage, EditCameraPage, NewCameraPage};
use collections::CollectionsPage;
use live::LivePage;
pub use not_found::NotFoundPage;
pub use part::{LibraryPage, ManagePage, Page, PartFiles, load_part_of};
use publish::PublishPage;
use upload::UploadPage;
