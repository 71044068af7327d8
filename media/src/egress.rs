//! Viewer bytes out.

pub mod handle;
mod places;
pub mod rtc;

pub use places::network;
