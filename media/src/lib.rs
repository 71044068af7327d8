//! Camera bytes in, viewer bytes out.
//!
//! Must not: serve HTTP, touch a database, know Leptos.
//!
//! ```text
//! camera ─► ingest ─► hub (a ring of access units per layer) ─cursor─► egress::rtc ─► browser
//! ```

pub mod camera;
pub mod egress;
pub mod hub;
pub mod ingest;
pub mod live;
pub mod probe;
pub mod sansio;
