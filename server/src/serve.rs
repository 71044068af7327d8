//! Start and stop, in order. Must not: answer requests or know a protocol.

use std::{fs::File, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use catalog::{
    BlobKey, BlobStore, Catalog, JobWorker, JobWorkerOptions, UploadOptions, Uploads,
    blob::{FolderStore, LinkSecret, S3Config, S3Store},
};
use media::live::{Live, LiveConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    AppState, HttpSettings,
    auth::Auth,
    cameras::CameraRegistry,
    config::{Config, ConfigError, LogFormat, Secret},
    events::EventStreams,
    http,
    ingest::{self, BucketEvents},
    memory, page_cache,
    router::router,
    secrets, site,
    state::ice_servers,
    store_health::StoreHealth,
    thumbs::ThumbCache,
};

/// Threads of the live plane; the web has its own.
const LIVE_THREADS: usize = 2;
/// Time for answers under way to end.
const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for jobs to put back what they were doing.
const JOBS_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Before a store that has no bucket for us is asked again.
const BUCKET_RETRY: Duration = Duration::from_secs(5);

/// Catalog and blob store of a configuration.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) catalog: Catalog,
    pub(crate) store: BlobStore,
}

fn make_data_dir(config: &Config) -> anyhow::Result<&Path> {
    let data_dir = &config.server.data_dir;
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    Ok(data_dir)
}

/// The bucket of a configuration, if originals are in one. Does not connect.
pub(crate) fn open_s3(config: &Config) -> Option<S3Store> {
    let expose = |secret: &Option<Secret>| {
        secret.as_ref().map(|s| s.expose().to_owned()).unwrap_or_default()
    };
    config.is_s3().then(|| {
        S3Store::new(&S3Config {
            endpoint: config.store.endpoint.clone().unwrap_or_default(),
            public_endpoint: config.store.public_endpoint.clone(),
            region: config.store.region.clone(),
            bucket: config.store.bucket.clone(),
            access_key: expose(&config.store.access_key),
            secret_key: expose(&config.store.secret_key),
        })
    })
}

/// Opens the catalog and the blob store, making them as needed. Does not connect to a bucket.
///
/// # Errors
/// When one of them cannot be had; the text says which and why.
pub(crate) async fn open_library(config: &Config) -> anyhow::Result<Library> {
    let data_dir = make_data_dir(config)?;
    let store = if let Some(store) = open_s3(config) {
        BlobStore::S3(store)
    } else {
        let secret = secrets::read_or_make(&data_dir.join("link.key"))?;
        BlobStore::Folder(FolderStore::open(&config.store_root(), LinkSecret::new(secret.bytes))?)
    };
    let catalog = Catalog::open(&config.catalog_url()).await?;
    Ok(Library { catalog, store })
}

/// The same for a command, which needs the bucket now.
///
/// # Errors
/// As those of [`open_library`].
pub(crate) async fn open_library_and_bucket(config: &Config) -> anyhow::Result<Library> {
    let library = open_library(config).await?;
    if let BlobStore::S3(store) = &library.store
        && let Err(cause) = store.ensure_bucket().await
    {
        warn!(error = %cause, "the blob store is not ready: {cause}");
    }
    Ok(library)
}

/// Reads the configuration again, from where it was first read.
pub(crate) type Reload<'a> = &'a dyn Fn() -> Result<Config, ConfigError>;

/// `damwall serve`
pub(crate) fn run(config: Config, reload: Reload<'_>) -> anyhow::Result<()> {
    init_log(&config);
    let live_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(LIVE_THREADS)
        .thread_name("live")
        .enable_all()
        .build()
        .context("cannot start the live threads")?;
    let web_runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("web")
        .enable_all()
        .build()
        .context("cannot start the web threads")?;
    let outcome = web_runtime.block_on(serve(&config, reload, live_runtime.handle()));
    // Everything that matters was waited for; what is left must not hold the process up.
    live_runtime.shutdown_background();
    web_runtime.shutdown_background();
    outcome
}

fn init_log(config: &Config) {
    // The `webrtc` crates warn five times a second of an origin that is not reached; the camera's own
    // line says it once. A filter that names them still has its way.
    let filter = EnvFilter::new(format!("rtc=error,webrtc=error,{}", config.server.log));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match config.server.log_format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            log.with_ansi(is_terminal).compact().init();
        }
        LogFormat::Json => log.json().init(),
    }
}

async fn serve(
    config: &Config,
    reload: Reload<'_>,
    live_runtime: &tokio::runtime::Handle,
) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let leptos = site::find()?;
    // Before the catalog is migrated: that is one process's work.
    let _lock = lock_data_dir(config)?;
    // A database may take its time to answer; a stop does not wait for it.
    let (Library { catalog, store }, listener) = tokio::select! {
        biased;
        () = stop.wait() => {
            info!("stopped before it had started");
            return Ok(());
        }
        opened = open(config) => opened?,
    };
    let local = listener.local_addr().context("cannot read the address listened on")?;
    // From before the first page is made, and the first camera read.
    let (changes, thumb_changes) = (catalog.changes(), catalog.changes());
    let camera_changes = catalog.changes();

    let live = LiveConfig {
        udp_addr: config.udp_addr(),
        tcp_addr: config.live.tcp_addr,
        announced: config.live.announced_ips.clone(),
        limits: config.limits(),
        // The registry starts them.
        cameras: Vec::new(),
    };
    let live = Live::start(live, live_runtime).await?;
    tokio::spawn(memory::give_back_after_crowds(live.statuses()));
    let cameras =
        CameraRegistry::start(catalog.clone(), live.cameras().clone(), config.cameras()).await?;
    let (bucket_events, changed) = BucketEvents::new(config);
    let (jobs, jobs_token) = start_jobs(config, &catalog, &store, changed)?;
    let options = UploadOptions { is_alone: catalog.is_private(), ..UploadOptions::default() };
    let uploads = Uploads::with_options(catalog.clone(), store.clone(), options);
    let (verifier, token) = (uploads.clone(), jobs_token.clone());
    jobs.spawn(async move { verifier.run(token).await });
    if let BlobStore::S3(store) = &store {
        let ready = ready_bucket(store.clone(), config.store_origins(local.port()));
        let token = jobs_token.clone();
        jobs.spawn(async move { token.run_until_cancelled(ready).await });
    }
    let (registry, token) = (cameras.clone(), jobs_token.clone());
    jobs.spawn(async move { registry.run(camera_changes, token).await });

    let auth = if config.needs_token() {
        let path = config.server.data_dir.join("token");
        let secret = secrets::read_or_make(&path)?;
        let auth = Auth::token(secret.bytes);
        match auth.expose_token() {
            Some(token) if secret.is_new => {
                println!("login: {}/login?token={token}", url(reachable(local)))
            }
            _ => info!("the access token is in {}", path.display()),
        }
        auth
    } else {
        Auth::open(config.server.allowed_hosts.clone())
    };
    let backend = app::ssr::Backend {
        catalog: catalog.clone(),
        store: store.clone(),
        cameras: live.statuses(),
        camera_admin: Arc::new(cameras.clone()),
        ice_servers: ice_servers(config),
        media_origin: media_origin(config),
        show_location: config.library.show_location,
    };
    let events = EventStreams::default();
    let cache_dir = config.server.data_dir.join("cache");
    let cache = page_cache::Settings {
        folder: Some(cache_dir.join("pages")),
        build: format!(
            "{} {:?} {} {}",
            site::build_name(),
            backend.media_origin,
            backend.show_location,
            config.library_name()
        ),
        is_open: auth.is_open(),
        clock: page_cache::Clock::default(),
    };
    let thumbs = ThumbCache::new(
        catalog.clone(),
        store.clone(),
        Some(cache_dir.join("thumbs")),
        auth.is_open(),
        cache.clock.clone(),
    );
    let state = AppState {
        backend,
        catalog: catalog.clone(),
        store_health: StoreHealth::new(store.clone()),
        store,
        uploads,
        rtc: live.rtc().clone(),
        events: events.clone(),
        bucket_events,
        auth,
        http: Arc::new(HttpSettings::from(config)),
        cache,
        thumbs: thumbs.clone(),
        leptos,
    };
    let front = router(state);
    let pages = front.pages().clone();
    pages.warm_up().await;
    let pages_token = jobs_token.clone();
    jobs.spawn(async move { pages.run(changes, pages_token).await });
    let thumbs_token = jobs_token.clone();
    jobs.spawn(async move { thumbs.run(thumb_changes, thumbs_token).await });

    let http_token = CancellationToken::new();
    let http = tokio::spawn(http::serve(listener, front, http::STALL_TIMEOUT, http_token.clone()));
    println!("damwall listening on {}", url(local));

    let reload_when_told = async {
        while hangup.recv().await.is_some() {
            reload_cameras(&cameras, reload).await;
        }
        std::future::pending().await
    };
    // A reload that waits for cameras must not hold up the stop.
    tokio::select! {
        biased;
        () = stop.wait() => {}
        () = reload_when_told => {}
    }
    info!("stopping; a second signal ends the program at once");
    tokio::spawn(async move {
        stop.wait().await;
        warn!("second signal: ending at once");
        std::process::exit(1);
    });
    // Players are told to connect again while their pictures still move.
    events.stop();
    http_token.cancel();
    match timeout(HTTP_STOP_TIMEOUT, http).await {
        Ok(Ok(())) => info!("answers under way have ended"),
        Ok(Err(cause)) => error!(error = %cause, "HTTP task failed"),
        Err(_) => info!("some answers took longer than 3 s and were cut off"),
    }
    live.close_viewers().await;
    jobs_token.cancel();
    stop_work(&jobs, JOBS_STOP_TIMEOUT, live.close_cameras()).await;
    catalog.close().await;
    info!("catalog closed; goodbye");
    Ok(())
}

/// What a start waits for: the library, and the address. Claimed before anything runs, so that a port in use
/// is the first thing one hears.
async fn open(config: &Config) -> anyhow::Result<(Library, TcpListener)> {
    let library = open_library(config).await?;
    let counts = library.catalog.counts().await?;
    info!(
        assets = counts.assets, data_dir = %config.server.data_dir.display(),
        "library of {} assets in {}", counts.assets, config.server.data_dir.display()
    );
    let addr = config.server.addr;
    let listener = TcpListener::bind(addr).await.with_context(|| {
        format!("cannot listen on {addr}; choose another address with --addr or server.addr")
    })?;
    Ok((library, listener))
}

/// Waits for jobs that were told to end, for so long at most, and for the cameras' goodbyes meanwhile: a job
/// that takes its time must not keep a camera's session open until the program is killed.
async fn stop_work(jobs: &TaskTracker, limit: Duration, close_cameras: impl Future<Output = ()>) {
    jobs.close();
    let wait = async {
        if timeout(limit, jobs.wait()).await.is_err() {
            let secs = limit.as_secs();
            warn!("jobs did not stop in {secs} s; they start again at the next start");
        }
    };
    tokio::join!(wait, close_cameras);
}

/// SIGHUP: takes the cameras from the configuration as it is now, or leaves everything as it was.
async fn reload_cameras(cameras: &CameraRegistry, reload: Reload<'_>) {
    match reload() {
        Ok(config) => {
            let specs = config.cameras();
            let count = specs.len();
            cameras.set_config(specs).await;
            info!(
                cameras = count,
                "SIGHUP: the configuration's {count} cameras are as it says now"
            );
        }
        Err(cause) => error!(error = %cause, "SIGHUP: nothing is changed: {cause}"),
    }
}

/// Two servers on one data folder would each do the other's jobs.
fn lock_data_dir(config: &Config) -> anyhow::Result<File> {
    let path = make_data_dir(config)?.join("serve.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.try_lock().map_err(|_| {
        let data_dir = config.server.data_dir.display();
        anyhow::anyhow!("another `damwall serve` uses the data folder {data_dir}; choose another with --data-dir")
    })?;
    Ok(file)
}

fn start_jobs(
    config: &Config,
    catalog: &Catalog,
    store: &BlobStore,
    changed: mpsc::Receiver<BlobKey>,
) -> anyhow::Result<(TaskTracker, CancellationToken)> {
    let (jobs, token) = (TaskTracker::new(), CancellationToken::new());
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let temp_dir = config.server.data_dir.join("tmp/jobs");
    // What a server that was killed has left there; the data folder is this one's alone.
    match std::fs::remove_dir_all(&temp_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(%error, "old temporary files stay: {error}");
        }
        _ => {}
    }
    std::fs::create_dir_all(&temp_dir)
        .with_context(|| format!("cannot make the folder {}", temp_dir.display()))?;
    let options = JobWorkerOptions {
        parallel: config.jobs.parallel.into(),
        proxies: config.jobs.proxies.into(),
        is_alone: catalog.is_private(),
        temp_dir,
        ..JobWorkerOptions::new(exe)
    };
    let worker = JobWorker::new(catalog.clone(), store.clone(), options);
    let worker_token = token.clone();
    jobs.spawn(async move { worker.run(worker_token).await });

    ingest::start(config, catalog, store, changed, &jobs, &token);
    Ok((jobs, token))
}

/// Makes the bucket, as soon as the store lets us, and lets our pages send to it. Pages are served without a
/// store; what needs it says so when it is asked for.
async fn ready_bucket(store: S3Store, origins: Vec<String>) {
    let mut has_warned = false;
    while let Err(cause) = store.ensure_bucket().await {
        if !std::mem::replace(&mut has_warned, true) {
            warn!(error = %cause, "the blob store is not ready: {cause}");
        }
        sleep(BUCKET_RETRY).await;
    }
    if has_warned {
        info!("the blob store is ready");
    }
    allow_origins(store, origins).await;
}

/// Lets our pages send to the bucket. Without it uploads from browsers fail, and everything else works.
async fn allow_origins(store: S3Store, origins: Vec<String>) {
    if origins.is_empty() {
        info!("store.cors_origins names no origin: the bucket's own CORS rules decide on uploads");
        return;
    }
    match store.allow_origins(&origins).await {
        Ok(()) => info!("pages of {} may send to the bucket", origins.join(", ")),
        Err(cause) => {
            warn!(error = %cause, "uploads from browsers may not work: {cause}; see `damwall store cors`");
        }
    }
}

/// An address another machine can use, where the one listened on stands for all.
fn reachable(local: SocketAddr) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let own = std::net::UdpSocket::bind(SocketAddr::new(local.ip(), 0)).and_then(|socket| {
        // No packet is sent: the kernel only chooses the address it would send from.
        let documentation_net: SocketAddr = if local.is_ipv4() {
            ([192, 0, 2, 1], 9).into()
        } else {
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into()
        };
        socket.connect(documentation_net)?;
        socket.local_addr()
    });
    own.map_or(local, |own| SocketAddr::new(own.ip(), local.port()))
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

fn media_origin(config: &Config) -> Option<String> {
    if !config.is_s3() {
        return None;
    }
    let endpoint = config.store.public_endpoint.as_ref().or(config.store.endpoint.as_ref())?;
    let origin = url::Url::parse(endpoint).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// SIGINT and SIGTERM.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        let listen = || -> std::io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        };
        listen().context("cannot listen for signals")
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn cameras_say_goodbye_while_jobs_still_end() {
        let (jobs, goodbye) = (TaskTracker::new(), Arc::new(Notify::new()));
        let said = goodbye.clone();
        jobs.spawn(async move { said.notified().await });
        stop_work(&jobs, Duration::from_secs(20), async { goodbye.notify_one() }).await;
        assert!(jobs.is_empty(), "the job ended because the cameras were closed");
    }

    #[test]
    fn a_container_is_given_all_the_time_that_a_stop_may_take() {
        let compose = include_str!("../../docker-compose.yaml");
        let grace =
            compose.lines().find_map(|line| line.trim().strip_prefix("stop_grace_period: "));
        let grace_secs: u64 = grace.unwrap().strip_suffix('s').unwrap().parse().unwrap();
        // Viewers have 5 s between those two; the cameras' own 5 s pass with the jobs'.
        let stop = HTTP_STOP_TIMEOUT + Duration::from_secs(5) + JOBS_STOP_TIMEOUT;
        // The rest is for the catalog.
        assert!(Duration::from_secs(grace_secs) >= stop + Duration::from_secs(10), "{grace_secs}");
    }
}
