//! What an original says of itself: when, with what and where it was taken.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an original's own notes say (EXIF of pictures, the container of videos). Every part may be missing, and none is proven.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// When it was taken. Without an offset in the file the server's time zone is taken.
    pub taken_at: Option<Timestamp>,
    /// How the stored picture is to be turned, 1 to 8. Source: EXIF 2.32, tag 0x0112.
    pub orientation: Option<u8>,
    /// Who made the camera.
    pub camera_make: Option<String>,
    /// Which camera.
    pub camera_model: Option<String>,
    /// Which lens.
    pub lens: Option<String>,
    /// Exposure time in seconds.
    pub exposure_secs: Option<f64>,
    /// Aperture, as in f/2.8.
    pub f_number: Option<f64>,
    /// Sensitivity.
    pub iso: Option<u32>,
    /// Focal length in millimetres.
    pub focal_length_mm: Option<f64>,
    /// Pictures a second of a video.
    pub fps: Option<f64>,
    /// Samples a second of a sound, or of a video's.
    pub sample_rate_hz: Option<u32>,
    /// Where. Left out of answers unless `library.show_location` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl Metadata {
    /// Whether nothing at all is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A place on earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// North of the equator, -90 to 90.
    pub latitude: f64,
    /// East of Greenwich, -180 to 180.
    pub longitude: f64,
}
