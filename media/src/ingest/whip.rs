//! Cameras that are published to: what a WHIP session hands over goes into the feed, and a layer that
//! has become silent goes off it. Must not: know sessions.

use std::time::Duration;

use domain::CameraState;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Camera, SILENCE_TIMEOUT, SourceError, publisher::TrackPublisher};
use crate::hub::{Ingress, MAX_LAYERS, TrackIndex};

/// Units on their way from the session; a session that finds it full drops them.
const CAPACITY: usize = 256;
/// Without a word for this long the publisher is gone. Sessions say so sooner, unless it got lost.
const GONE_TIMEOUT: Duration = Duration::from_secs(15);

/// Publishes what publishers send, one after the other, until `token` is cancelled.
pub(super) async fn run(camera: &Camera, token: &CancellationToken) {
    let id = &camera.config.id;
    let mut ingress = camera.feed.open_ingress(CAPACITY);
    let mut layers: [_; MAX_LAYERS] =
        std::array::from_fn(|layer| TrackPublisher::new(camera, TrackIndex::Layer(layer), "main"));
    let mut audio = TrackPublisher::new(camera, TrackIndex::Audio, "audio");
    let waiting = || CameraState::Lost { reason: "nobody publishes".to_owned() };
    camera.set_away(waiting());
    let mut heard = Heard::default();
    loop {
        // What waits is read before silence is noticed: it may be this task that was late.
        let message = tokio::select! {
            biased;
            () = token.cancelled() => None,
            message = ingress.recv() => message,
            () = heard.silence() => {
                let now = Instant::now();
                if heard.is_over(now) {
                    Some(Ingress::Ended("the publisher is silent".to_owned()))
                } else {
                    for layer in heard.take_silent_layers(now) {
                        info!(camera.id = %id, layer, "camera {id}: layer {layer} is silent");
                        layers[layer].clear();
                    }
                    // Told only while no other layer is live.
                    camera.set_away(CameraState::Lost { reason: SourceError::Silent.to_string() });
                    continue;
                }
            }
        };
        let ended = match message {
            Some(Ingress::Format(index, format)) => {
                if let Some(track) = find(index, &mut layers, &mut audio) {
                    heard.note(index, Instant::now());
                    track.set_format(format);
                }
                continue;
            }
            Some(Ingress::Unit(index, unit)) => {
                if let Some(track) = find(index, &mut layers, &mut audio) {
                    let now = Instant::now();
                    heard.note(index, now);
                    track.publish(unit, now.into());
                }
                continue;
            }
            Some(Ingress::Ended(reason)) => Some(reason),
            None => None,
        };
        heard = Heard::default();
        layers.iter_mut().for_each(TrackPublisher::clear);
        audio.clear();
        let Some(reason) = ended else { return };
        info!(camera.id = %id, "camera {id}: {reason}");
        camera.set_away(waiting());
    }
}

/// When a publisher was last heard of.
#[derive(Debug, Default)]
struct Heard {
    /// `None` while nobody publishes.
    at: Option<Instant>,
    /// Layers that are not heard of now have none.
    layers: [Option<Instant>; MAX_LAYERS],
}

impl Heard {
    fn note(&mut self, index: TrackIndex, now: Instant) {
        self.at = Some(now);
        if let TrackIndex::Layer(layer) = index
            && let Some(at) = self.layers.get_mut(layer)
        {
            *at = Some(now);
        }
    }

    /// Waits until a layer, or all there is, has been silent for too long.
    async fn silence(&self) {
        let of_layers = self.layers.iter().flatten().map(|at| *at + SILENCE_TIMEOUT);
        match of_layers.chain(self.at.map(|at| at + GONE_TIMEOUT)).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at + GONE_TIMEOUT)
    }

    /// Layers that have become silent; each is given once.
    fn take_silent_layers(&mut self, now: Instant) -> Vec<usize> {
        let is_silent =
            |at: &mut Option<Instant>| at.take_if(|at| now >= *at + SILENCE_TIMEOUT).is_some();
        let layers = self.layers.iter_mut().enumerate();
        layers.filter_map(|(layer, at)| is_silent(at).then_some(layer)).collect()
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
