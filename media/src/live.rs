//! The live plane as one thing to start and stop. Must not: read configuration files or serve HTTP.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{CameraId, CameraStatus};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    camera::CameraConfig,
    egress::{
        handle::{Limits, RtcHandle},
        rtc::{self, RtcStartError},
    },
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
    /// The one TCP port of sessions that UDP does not reach; none unless given.
    pub tcp_addr: Option<SocketAddr>,
    /// Addresses to announce instead of this machine's own.
    pub announced: Vec<IpAddr>,
    /// Most sessions at once.
    pub limits: Limits,
    /// Cameras, ids unique.
    pub cameras: Vec<CameraConfig>,
}

/// The running live plane.
#[derive(Debug)]
pub struct Live {
    rtc: RtcHandle,
    statuses: watch::Receiver<Arc<[CameraStatus]>>,
    viewers: Tasks,
    cameras: Cameras,
}

/// The cameras that run; cheap to clone.
#[derive(Debug, Clone)]
pub struct Cameras(Arc<CamerasInner>);

#[derive(Debug)]
struct CamerasInner {
    hub: Arc<Hub>,
    runtime: Handle,
    tasks: Tasks,
    running: Mutex<BTreeMap<CameraId, Running>>,
    statuses: watch::Sender<Arc<[CameraStatus]>>,
}

#[derive(Debug)]
struct Running {
    camera: Arc<Camera>,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it, its RTSP session included.
    async fn stop(self) {
        self.token.cancel();
        // A task that panicked has ended too.
        let _ = timeout(STOP_TIMEOUT, self.task).await;
    }
}

impl Cameras {
    fn running(&self) -> MutexGuard<'_, BTreeMap<CameraId, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a camera, or changes the one of that id; its viewers stay connected. Nothing happens when it
    /// runs like this already.
    ///
    /// The camera is listed as it is to be at once; the old one's session is ended in the background, before
    /// the new one's begins.
    pub fn put(&self, config: CameraConfig) {
        let mut running = self.running();
        if running.get(&config.id).is_some_and(|old| old.camera.config == config) {
            return;
        }
        let id = config.id.clone();
        info!(camera.id = %id, source = %config.source, "camera {id}: {}", config.source);
        let feed = self.0.hub.add(&id);
        feed.set_on_demand(config.on_demand);
        feed.set_media(config.media);
        let camera = Arc::new(Camera::new(config, feed));
        let token = self.0.tasks.token.child_token();
        let run = run(running.remove(&id), camera.clone(), token.clone());
        let task = self.0.tasks.tracker.spawn_on(run, &self.0.runtime);
        running.insert(id, Running { camera, token, task });
        drop(running);
        self.publish_statuses();
    }

    /// Ends a camera and its viewers; `false` when there is none.
    pub async fn remove(&self, id: &CameraId) -> bool {
        let removed = {
            let mut running = self.running();
            let Some(removed) = running.remove(id) else { return false };
            self.0.hub.remove(id);
            removed
        };
        self.publish_statuses();
        removed.stop().await;
        info!(camera.id = %id, "camera {id} removed");
        true
    }

    /// What a camera is configured to be.
    pub fn config(&self, id: &CameraId) -> Option<CameraConfig> {
        self.running().get(id).map(|running| running.camera.config.clone())
    }

    /// What every camera is configured to be, ordered by id.
    pub fn configs(&self) -> Vec<CameraConfig> {
        self.running().values().map(|running| running.camera.config.clone()).collect()
    }

    /// Brings the listing up to date.
    fn publish_statuses(&self) {
        let now = self.statuses();
        self.0.statuses.send_if_modified(|last| {
            let changed = **last != *now;
            if changed {
                *last = now;
            }
            changed
        });
    }

    fn statuses(&self) -> Arc<[CameraStatus]> {
        self.running().values().map(|running| running.camera.status()).collect()
    }
}

/// Runs a camera in the place of an `old` one, once that has ended.
async fn run(old: Option<Running>, camera: Arc<Camera>, token: CancellationToken) {
    if let Some(old) = old {
        old.stop().await;
        // Replaced or removed meanwhile: the feed is another's.
        if token.is_cancelled() {
            return;
        }
        camera.feed.clear();
    }
    ingest::supervise(camera, token).await;
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
    /// Starts cameras and the WebRTC ports on `runtime`.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub async fn start(config: LiveConfig, runtime: &Handle) -> Result<Self, RtcStartError> {
        let hub = Arc::new(Hub::default());
        let (viewer_tasks, camera_tasks) = (Tasks::default(), Tasks::default());

        let bind_hub = hub.clone();
        let ports = rtc::Ports { udp: config.udp_addr, tcp: config.tcp_addr };
        let bound = runtime
            .spawn(
                async move { rtc::bind(bind_hub, ports, &config.announced, config.limits).await },
            )
            .await;
        let (rtc, rtc_loop) = bound.expect("binding a socket does not panic")?;
        viewer_tasks.tracker.spawn_on(rtc_loop.run(viewer_tasks.token.clone()), runtime);

        let cameras = Cameras(Arc::new(CamerasInner {
            hub,
            runtime: runtime.clone(),
            tasks: camera_tasks,
            running: Mutex::default(),
            statuses: watch::Sender::new(Arc::default()),
        }));
        for camera in config.cameras {
            cameras.put(camera);
        }
        let report = report(cameras.clone(), cameras.0.tasks.token.clone());
        cameras.0.tasks.tracker.spawn_on(report, runtime);
        let statuses = cameras.0.statuses.subscribe();
        Ok(Self { rtc, statuses, viewers: viewer_tasks, cameras })
    }

    /// Adds, changes and removes cameras.
    pub fn cameras(&self) -> &Cameras {
        &self.cameras
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
        self.cameras.0.tasks.stop("cameras").await;
    }
}

async fn report(cameras: Cameras, token: CancellationToken) {
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        cameras.publish_statuses();
    }
}
