//! Cameras that are published to: what a WHIP session hands over goes into the feed. Must not: know
//! sessions; silence is theirs to notice.

use std::time::Instant;

use domain::CameraState;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Camera, publisher::TrackPublisher};
use crate::hub::{Ingress, MAX_LAYERS, TrackIndex};

/// Units on their way from the session; a session that finds it full drops them.
const CAPACITY: usize = 256;

/// Publishes what publishers send, one after the other, until `token` is cancelled.
pub(super) async fn run(camera: &Camera, token: &CancellationToken) {
    let id = &camera.config.id;
    let mut ingress = camera.feed.open_ingress(CAPACITY);
    let mut layers: [_; MAX_LAYERS] =
        std::array::from_fn(|layer| TrackPublisher::new(camera, TrackIndex::Layer(layer), "main"));
    let mut audio = TrackPublisher::new(camera, TrackIndex::Audio, "audio");
    let waiting = || CameraState::Lost { reason: "nobody publishes".to_owned() };
    camera.set_away(waiting());
    loop {
        let message = tokio::select! {
            biased;
            () = token.cancelled() => None,
            message = ingress.recv() => message,
        };
        let ended = match message {
            Some(Ingress::Format(index, format)) => {
                if let Some(track) = find(index, &mut layers, &mut audio) {
                    track.set_format(format);
                }
                continue;
            }
            Some(Ingress::Unit(index, unit)) => {
                if let Some(track) = find(index, &mut layers, &mut audio) {
                    track.publish(unit, Instant::now());
                }
                continue;
            }
            Some(Ingress::Ended(reason)) => Some(reason),
            None => None,
        };
        layers.iter_mut().for_each(TrackPublisher::clear);
        audio.clear();
        let Some(reason) = ended else { return };
        info!(camera.id = %id, "camera {id}: {reason}");
        camera.set_away(waiting());
    }
}

fn find<'a, 'c>(
    index: TrackIndex,
    layers: &'a mut [TrackPublisher<'c>],
    audio: &'a mut TrackPublisher<'c>,
) -> Option<&'a mut TrackPublisher<'c>> {
    match index {
        TrackIndex::Layer(layer) => layers.get_mut(layer),
        TrackIndex::Audio => Some(audio),
    }
}
