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
    viewers: Tasks,
    cameras: Tasks,
}

/// Tasks that end on one token.
#[derive(Debug, Default)]
struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Ends them; `what` is for the log.
    async fn stop(&self, what: &str) {
        self.token.cancel();
        self.tracker.close();
        match timeout(STOP_TIMEOUT, self.tracker.wait()).await {
            Ok(()) => info!("{what} closed"),
            Err(_) => warn!("{what} did not close in 5 s; going on without them"),
        }
    }
}

impl Live {
    /// Starts cameras and the WebRTC port on `runtime`.
    ///
    /// # Errors
    /// When the UDP port cannot be had.
    pub async fn start(config: LiveConfig, runtime: &Handle) -> Result<Self, RtcStartError> {
        let hub = Arc::new(Hub::default());
        let (viewer_tasks, camera_tasks) = (Tasks::default(), Tasks::default());

        let bind_hub = hub.clone();
        let bound = runtime
            .spawn(async move { rtc::bind(bind_hub, config.udp_addr, &config.announced).await })
            .await;
        let (rtc, rtc_loop) = bound.expect("binding a socket does not panic")?;
        viewer_tasks.tracker.spawn_on(rtc_loop.run(viewer_tasks.token.clone()), runtime);

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
            let supervise = ingest::supervise(camera.clone(), camera_tasks.token.clone());
            camera_tasks.tracker.spawn_on(supervise, runtime);
        }
        let (sender, statuses) = watch::channel(list(&cameras));
        let report = report(cameras, sender, camera_tasks.token.clone());
        camera_tasks.tracker.spawn_on(report, runtime);
        Ok(Self { rtc, statuses, viewers: viewer_tasks, cameras: camera_tasks })
    }

    /// Makes and ends WHEP sessions.
    pub fn rtc(&self) -> &RtcHandle {
        &self.rtc
    }

    /// Every camera's state, ordered by id; brought up to date four times a second.
    pub fn statuses(&self) -> watch::Receiver<Arc<[CameraStatus]>> {
        self.statuses.clone()
    }

    /// Says goodbye to every viewer; no new one is taken after that.
    pub async fn close_viewers(&self) {
        self.viewers.stop("viewers").await;
    }

    /// Ends every camera's session (RTSP TEARDOWN).
    pub async fn close_cameras(&self) {
        self.cameras.stop("cameras").await;
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
