//! What live tiles decide, as plain data. Must not: touch the browser, read a clock, or know Leptos.

pub mod frames;
pub mod player;
pub mod receiver;
pub mod tile;
