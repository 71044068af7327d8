//! What live tiles decide, as plain data. Must not: touch the browser, read a clock, or know Leptos.

pub mod asking;
pub mod focus;
pub mod frames;
pub mod latency;
pub mod player;
pub mod receiver;
pub mod sdp;
pub mod tile;
