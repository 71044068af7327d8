//! How much of the network a camera's media may take. Must not: know who keeps to it.

use serde::{Deserialize, Serialize};

/// What a camera's media is to be like. It binds what is encoded here and what publishers send; a camera
/// that is passed through is only measured against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaSettings {
    /// Video to begin with, in kbit/s.
    pub target_kbps: u32,
    /// Most video, in kbit/s, all layers together.
    pub max_kbps: u32,
    /// What a publisher is left on the worst of networks, in kbit/s.
    pub min_kbps: u32,
    /// Most time between key frames.
    pub key_frame_interval_ms: u32,
    /// How long a publisher's packets wait for one that is missing before them.
    pub jitter_buffer_ms: u32,
    /// Take several layers of a publisher.
    pub simulcast: bool,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            target_kbps: 3000,
            max_kbps: 5000,
            min_kbps: 600,
            key_frame_interval_ms: 1500,
            jitter_buffer_ms: 60,
            simulcast: true,
        }
    }
}

impl MediaSettings {
    /// Whether they can be kept to.
    ///
    /// # Errors
    /// The field that cannot, and what it should be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let rules = [
            ("min_kbps", (50..=100_000).contains(&self.min_kbps), "expected 50 to 100000"),
            (
                "max_kbps",
                (self.min_kbps..=100_000).contains(&self.max_kbps),
                "expected min_kbps to 100000",
            ),
            (
                "target_kbps",
                (self.min_kbps..=self.max_kbps).contains(&self.target_kbps),
                "expected min_kbps to max_kbps",
            ),
            (
                "key_frame_interval_ms",
                (500..=60_000).contains(&self.key_frame_interval_ms),
                "expected 500 to 60000",
            ),
            ("jitter_buffer_ms", self.jitter_buffer_ms <= 1000, "expected 0 to 1000"),
        ];
        match rules.into_iter().find(|(_, is_good, _)| !is_good) {
            Some((field, _, expected)) => Err((field, expected)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_left_out_are_the_defaults_and_impossible_ones_are_named() {
        let read = |json: &str| serde_json::from_str::<MediaSettings>(json).unwrap();
        assert_eq!(read("{}"), MediaSettings::default());
        assert_eq!(read("{}").check(), Ok(()));
        for (json, field) in [
            (r#"{"target_kbps": 6000}"#, "target_kbps"),
            (r#"{"target_kbps": 500}"#, "target_kbps"),
            (r#"{"max_kbps": 500}"#, "max_kbps"),
            (r#"{"min_kbps": 0}"#, "min_kbps"),
            (r#"{"key_frame_interval_ms": 10}"#, "key_frame_interval_ms"),
            (r#"{"jitter_buffer_ms": 5000}"#, "jitter_buffer_ms"),
        ] {
            assert_eq!(read(json).check().unwrap_err().0, field, "{json}");
        }
        assert!(serde_json::from_str::<MediaSettings>(r#"{"nack": false}"#).is_err());
    }
}
