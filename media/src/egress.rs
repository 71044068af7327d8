//! Viewer bytes out.

pub mod rtc;
