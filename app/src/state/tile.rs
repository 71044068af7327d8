//! What a live tile says, from the player's status and the camera's state. Must not: touch the browser.

use domain::CameraState;

use super::player::{Fault, Offline, Status};

/// The words on a tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFace {
    /// `data-state`: connecting, playing, stalled, offline or error.
    pub state: &'static str,
    /// On the chip beside the camera's name.
    pub label: &'static str,
    /// Over the picture; empty when there is nothing to say.
    pub message: String,
}

impl TileFace {
    /// The face of a tile; the first one, [`Status::Idle`], is what the server renders.
    pub fn of(status: Status, camera: Option<&CameraState>) -> Self {
        let waits_for_camera = matches!(status, Status::Idle | Status::Offline(Offline::NotLive));
        let (state, label) = match (status, camera) {
            (_, Some(CameraState::Connecting)) if waits_for_camera => ("connecting", "Connecting"),
            (Status::Idle, Some(CameraState::Live { .. })) => ("connecting", "Live"),
            (Status::Idle, _) => ("offline", "Offline"),
            (Status::Connecting, _) => ("connecting", "Connecting"),
            (Status::Playing, _) => ("playing", "Live"),
            (Status::Stalled, _) => ("stalled", "No picture"),
            (Status::Offline(_), _) => ("offline", "Offline"),
            (Status::Error(_), _) => ("error", "Error"),
        };
        Self { state, label, message: message(status, camera) }
    }
}

fn message(status: Status, camera: Option<&CameraState>) -> String {
    let what = match status {
        Status::Playing => return String::new(),
        Status::Idle if camera.is_some_and(CameraState::is_live) => return String::new(),
        Status::Idle | Status::Offline(Offline::NotLive) => match camera {
            Some(CameraState::Connecting) => "Connecting to the camera.",
            _ => "The camera is not live; it is tried again by itself.",
        },
        Status::Connecting => "Connecting…",
        Status::Stalled => match camera {
            Some(CameraState::Live { .. }) => "No picture, reconnecting.",
            _ => "No picture, camera is reconnecting.",
        },
        Status::Offline(Offline::Busy) => "The server has no room for more viewers; trying again.",
        Status::Offline(Offline::Unreachable) => "The server does not answer; trying again.",
        Status::Offline(Offline::LinkLost) => "The connection broke; connecting again.",
        Status::Offline(Offline::NoPackets) => {
            "No video came through; trying again. Damwall's UDP port may be closed on the way."
        }
        Status::Error(Fault::NoSuchCamera) => return "There is no such camera.".to_owned(),
        Status::Error(Fault::Refused) => {
            return "The server refused to play this camera; its log says why.".to_owned();
        }
        Status::Error(Fault::NoCodec) => {
            return "This browser cannot decode the camera's video.".to_owned();
        }
        Status::Error(Fault::Unsupported) => {
            return "This browser cannot play live video: it has no WebRTC.".to_owned();
        }
    };
    match camera {
        Some(CameraState::Lost { reason }) if !reason.is_empty() => format!("{what} ({reason})"),
        _ => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use domain::VideoParameters;

    use super::*;

    fn live() -> CameraState {
        CameraState::Live {
            video: VideoParameters { codec: "avc1.42c01f".into(), width_px: 1280, height_px: 720 },
            fps: 25.0,
            bitrate_kbps: 2_000,
        }
    }

    fn lost() -> CameraState {
        CameraState::Lost { reason: "connection refused".into() }
    }

    #[test]
    fn server_renders_the_cameras_own_state() {
        let face = |camera: &CameraState| TileFace::of(Status::Idle, Some(camera));
        assert_eq!((face(&live()).state, face(&live()).label), ("connecting", "Live"));
        assert_eq!(face(&live()).message, "");
        assert_eq!(face(&CameraState::Connecting).state, "connecting");
        assert_eq!(face(&lost()).state, "offline");
        assert!(face(&lost()).message.contains("connection refused"));
    }

    #[test]
    fn playing_tile_says_nothing() {
        let face = TileFace::of(Status::Playing, Some(&lost()));
        assert_eq!((face.state, face.message.as_str()), ("playing", ""));
    }

    #[test]
    fn stalled_tile_says_that_the_camera_is_reconnecting_and_why() {
        let face = TileFace::of(Status::Stalled, Some(&lost()));
        assert_eq!(face.state, "stalled");
        assert_eq!(face.message, "No picture, camera is reconnecting. (connection refused)");
    }
}
