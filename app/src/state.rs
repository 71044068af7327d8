//! What live tiles, pages that publish and upload, and players of assets decide, as plain data.
//! Must not: touch the browser, read a clock, or know Leptos.

pub mod asking;
pub mod focus;
pub mod frames;
pub mod latency;
pub mod player;
pub mod publish;
pub mod receiver;
pub mod sdp;
pub mod sources;
pub mod storyboard;
pub mod tile;
pub mod upload;
