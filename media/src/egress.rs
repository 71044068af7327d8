//! Viewer bytes out.

pub mod handle;
pub mod rtc;
