//! The live plane as one thing to start and stop. Must not: read configuration files or speak HTTP.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use domain::CameraStatus;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    camera::CameraConfig,
    egress::rtc::{self, RtcHandle, RtcStartError},
    hub::Hub,
    ingest::{self, Camera},
};

/// How often the listing of cameras is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Time for sessions and cameras to say goodbye.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the live plane is started with.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// The one UDP port of all WebRTC sessions; port 0 takes any free one.
    pub udp_addr: SocketAddr,
    /// Addresses to announce instead of this machine's own.
    pub announced: Vec<IpAddr>,
    /// Cameras, ids unique.
    pub cameras: Vec<CameraConfig>,
}

/// The running live plane.
#[derive(Debug)]
pub struct Live {
    rtc: RtcHandle,
    statuses: watch::Receiver<Arc<[CameraStatus]>>,
    egress: CancellationToken,
    ingress: CancellationToken,
    tasks: TaskTracker,
}

impl Live {
    /// Starts cameras and the WebRTC port on `runtime`.
    ///
    /// # Errors
    /// When the UDP port cannot be had.
    pub async fn start(config: LiveConfig, runtime: &Handle) -> Result<Self, RtcStartError> {
        let hub = Arc::new(Hub::default());
        let (egress, ingress) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();

        let bind_hub = hub.clone();
        let bound = runtime
            .spawn(async move { rtc::bind(bind_hub, config.udp_addr, &config.announced).await })
            .await;
        let (rtc, rtc_loop) = bound.expect("binding a socket does not panic")?;
        tasks.spawn_on(rtc_loop.run(egress.clone()), runtime);

        let cameras: Vec<Arc<Camera>> = config
            .cameras
            .into_iter()
            .map(|config| {
                let feed = hub.add(&config.id);
                Arc::new(Camera::new(config, feed))
            })
            .collect();
        for camera in &cameras {
            let id = &camera.config.id;
            info!(camera.id = %id, source = %camera.config.source, "camera {id}: {}", camera.config.source);
            tasks.spawn_on(ingest::supervise(camera.clone(), ingress.clone()), runtime);
        }
        let (sender, statuses) = watch::channel(list(&cameras));
        tasks.spawn_on(report(cameras, sender, egress.clone()), runtime);
        Ok(Self { rtc, statuses, egress, ingress, tasks })
    }

    /// Makes and ends WHEP sessions.
    pub fn rtc(&self) -> &RtcHandle {
        &self.rtc
    }

    /// Every camera's state, ordered by id; brought up to date four times a second.
    pub fn statuses(&self) -> watch::Receiver<Arc<[CameraStatus]>> {
        self.statuses.clone()
    }

    /// Closes sessions, then cameras.
    pub async fn stop(self) {
        self.egress.cancel();
        self.ingress.cancel();
        self.tasks.close();
        if timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!("live plane did not stop in 5 s; going on without it");
        }
        info!("cameras and viewers closed");
    }
}

fn list(cameras: &[Arc<Camera>]) -> Arc<[CameraStatus]> {
    let mut statuses: Vec<_> = cameras.iter().map(|camera| camera.status()).collect();
    statuses.sort_by(|a, b| a.id.cmp(&b.id));
    statuses.into()
}

async fn report(
    cameras: Vec<Arc<Camera>>,
    sender: watch::Sender<Arc<[CameraStatus]>>,
    token: CancellationToken,
) {
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = list(&cameras);
        sender.send_if_modified(|last| {
            let changed = **last != *now;
            if changed {
                *last = now;
            }
            changed
        });
    }
}
