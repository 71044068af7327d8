//! Who may do what. Must not: know how a request proves who it is (that is the server's `auth`).

use serde::{Deserialize, Serialize};

/// What a caller may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watches cameras, browses and downloads assets.
    Viewer,
    /// Also adds, tags and removes assets, and starts recordings.
    Operator,
    /// Also changes cameras and settings.
    Admin,
}

impl Role {
    /// Whether this role includes `needed`.
    pub fn includes(self, needed: Role) -> bool {
        self >= needed
    }
}
