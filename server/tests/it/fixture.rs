//! The whole application without its socket: real router, real catalog, real live plane.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response},
};
use catalog::{
    BlobKey, BlobStore, Catalog, CatalogUrl, Uploads,
    blob::{FolderStore, LinkSecret},
};
use futures::StreamExt as _;
use media::live::{Live, LiveConfig};
use server::{
    AppState, Front, HttpSettings,
    auth::Auth,
    cameras::CameraRegistry,
    config::{Config, Overrides},
    events::EventStreams,
    ingest::BucketEvents,
    page_cache::{self, Clock},
    router::router,
    site,
    thumbs::ThumbCache,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// One application at a time. Damwall is one application on one runtime in a process, and Leptos keeps
/// state per process: rendered on two runtimes at once, it was seen to wait for ever.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Secret of the servers that need a token.
pub(crate) const TOKEN: [u8; 32] = [7; 32];
/// What Chromium offers to receive a video and a sound.
pub(crate) const OFFER: &str = include_str!("../../../media/tests/it/chromium_offer.sdp");
/// `Content-Type` of offers and answers.
pub(crate) const SDP: &[(&str, &str)] = &[("content-type", "application/sdp")];
/// `Content-Type` of changes to an ICE session.
pub(crate) const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
/// More candidates of the ICE session that [`OFFER`] begins.
pub(crate) const TRICKLE: &str = "a=ice-ufrag:fJd/\r\na=ice-pwd:d1kmiUsc++9Iq+8bTBRibIII\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2113937151 127.0.0.1 50000 typ host\r\n\
    a=candidate:2 1 udp 2113937151 d354d350-ffd8-44dc-8314-12d31d03d714.local 41401 typ host\r\n\
    a=candidate:3 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active\r\n\
    a=end-of-candidates\r\n";
/// A new ICE session.
pub(crate) const RESTART: &str = "a=ice-ufrag:Zyxw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5kabcd\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2113937151 127.0.0.1 50001 typ host\r\n";
/// Which files each part of the pages' code is in.
const PARTS: &str = r#"{"library": ["split_library.a"], "asset": ["split_asset.b"],
    "live": ["chunk_0.c", "split_live.d"], "manage": ["chunk_0.c", "split_manage.e"]}"#;
/// A configuration with a camera that is always live.
pub(crate) const TEST_CAMERA: &str = "[[cameras]]\nid = \"door\"\nurl = \"test:320x180\"\n";

pub(crate) struct Application {
    pub(crate) front: Front,
    pub(crate) catalog: Catalog,
    pub(crate) store: BlobStore,
    pub(crate) clock: Clock,
    token: CancellationToken,
    keeping: JoinHandle<()>,
    pub(crate) live: Live,
    pub(crate) events: EventStreams,
    pub(crate) cameras: CameraRegistry,
    /// Objects that the store says have changed.
    pub(crate) changed: mpsc::Receiver<BlobKey>,
    pub(crate) uploads: Uploads,
    _turn: MutexGuard<'static, ()>,
}

impl Application {
    /// As `damwall serve` puts it together, from a configuration's text.
    pub(crate) async fn start(folder: &Path, auth: Auth, toml: &str) -> Self {
        Self::start_on(folder, auth, toml, folder_store(folder)).await
    }

    /// The same over another store.
    pub(crate) async fn start_on(folder: &Path, auth: Auth, toml: &str, store: BlobStore) -> Self {
        Self::start_with(folder, auth, toml, store, |_| ()).await
    }

    /// With what no configuration says.
    pub(crate) async fn start_with(
        folder: &Path,
        auth: Auth,
        toml: &str,
        store: BlobStore,
        change: impl FnOnce(&mut HttpSettings),
    ) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let site = folder.join("site");
        std::fs::create_dir_all(site.join("pkg")).unwrap();
        std::fs::write(site.join("pkg/damwall.abc.js"), "// code").unwrap();
        for (suffix, text) in [("", "code"), (".gz", "code in gzip"), (".br", "code in brotli")] {
            std::fs::write(site.join(format!("pkg/damwall.abc.wasm{suffix}")), text).unwrap();
        }
        std::fs::write(site.join("pkg/__wasm_split_manifest.json"), PARTS).unwrap();
        std::fs::write(site.join("favicon.svg"), "<svg/>").unwrap();
        let mut leptos = site::options(&site);
        // The names of hashed files are beside the program, which a test is not.
        leptos.hash_files = false;
        let config = config(folder, toml);
        let live = start_live(&config).await;
        let catalog = open_catalog(folder).await;
        let camera_changes = catalog.changes();
        let cameras =
            CameraRegistry::start(catalog.clone(), live.cameras().clone(), config.cameras())
                .await
                .unwrap();
        let (bucket_events, changed) = BucketEvents::new(&config);
        let events = EventStreams::default();
        let uploads = Uploads::new(catalog.clone(), store.clone());
        let clock = Clock::default();
        let cache = page_cache::Settings {
            folder: Some(folder.join("cache/pages")),
            build: "test".to_owned(),
            is_open: auth.is_open(),
            clock: clock.clone(),
        };
        let thumbs = folder.join("cache/thumbs");
        let thumbs = ThumbCache::new(
            catalog.clone(),
            store.clone(),
            Some(thumbs),
            auth.is_open(),
            clock.clone(),
        );
        let (changes, thumb_changes) = (catalog.changes(), catalog.changes());
        let mut http = HttpSettings::from(&config);
        change(&mut http);
        let front = router(AppState {
            backend: app::ssr::Backend {
                catalog: catalog.clone(),
                store: store.clone(),
                cameras: live.statuses(),
                camera_admin: Arc::new(cameras.clone()),
                ice_servers: server::ice_servers(&config),
                media_origin: None,
                show_location: config.library.show_location,
            },
            catalog: catalog.clone(),
            store: store.clone(),
            store_health: server::store_health::StoreHealth::new(store.clone()),
            uploads: uploads.clone(),
            rtc: live.rtc().clone(),
            events: events.clone(),
            bucket_events,
            auth,
            http: Arc::new(http),
            cache,
            thumbs: thumbs.clone(),
            leptos,
        });
        front.pages().warm_up().await;
        let token = CancellationToken::new();
        let (pages, registry, stop) = (front.pages().clone(), cameras.clone(), token.clone());
        let keeping = tokio::spawn(async move {
            tokio::join!(
                pages.run(changes, stop.clone()),
                registry.run(camera_changes, stop.clone()),
                thumbs.run(thumb_changes, stop),
            );
        });
        Self {
            front,
            live,
            events,
            cameras,
            catalog,
            store,
            changed,
            uploads,
            clock,
            token,
            keeping,
            _turn: turn,
        }
    }

    /// Writes what outlives a restart.
    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.keeping.await.unwrap();
    }

    /// Waits until a camera sends pictures.
    pub(crate) async fn wait_live(&self, id: &str) {
        let is_live = |cameras: &Arc<[domain::CameraStatus]>| {
            cameras.iter().any(|camera| camera.id.as_str() == id && camera.state.is_live())
        };
        let mut statuses = self.live.statuses();
        let live = timeout(Duration::from_secs(20), statuses.wait_for(is_live)).await;
        live.expect("the camera is live").unwrap();
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "localhost:3000");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            self.front.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        Answer::of(response.map(Body::new))
    }

    pub(crate) async fn send_json(
        &self,
        method: &str,
        path: &str,
        body: serde_json::Value,
    ) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Offers as Chromium does.
    pub(crate) async fn offer(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers = [headers, &[("content-type", "application/sdp")]].concat();
        self.send("POST", path, &headers, OFFER).await
    }

    /// A session on the test camera; its path and entity tag.
    pub(crate) async fn session(&self) -> (String, String) {
        self.wait_live("door").await;
        let created = self.offer("/whep/door", &[]).await;
        assert_eq!(created.status, 201);
        (created.header("location").to_owned(), created.header("etag").to_owned())
    }
}

/// The live plane of a configuration, without its cameras.
pub(crate) async fn start_live(config: &Config) -> Live {
    let live = LiveConfig {
        udp_addr: config.live.udp_addr.unwrap_or(([127, 0, 0, 1], 0).into()),
        tcp_addr: config.live.tcp_addr,
        announced: config.live.announced_ips.clone(),
        limits: config.limits(),
        cameras: Vec::new(),
    };
    Live::start(live, &Handle::current()).await.unwrap()
}

/// The application's own store.
pub(crate) fn folder_store(folder: &Path) -> BlobStore {
    let secret = LinkSecret::new([1; 32]);
    BlobStore::Folder(FolderStore::open(&folder.join("blobs"), secret).unwrap())
}

/// The application's catalog, as another process sees it.
pub(crate) async fn open_catalog(folder: &Path) -> Catalog {
    Catalog::open(&CatalogUrl::Sqlite(folder.join("catalog.sqlite"))).await.unwrap()
}

/// Reads a configuration as `damwall serve` does.
pub(crate) fn config(folder: &Path, toml: &str) -> Config {
    let file = folder.join("damwall.toml");
    std::fs::write(&file, toml).unwrap();
    Config::load(Some(&file), &Overrides::default(), std::iter::empty()).unwrap()
}

/// An answer whose body may be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Body,
}

impl Answer {
    pub(crate) fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn links(&self) -> Vec<&str> {
        self.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect()
    }

    pub(crate) async fn bytes(self) -> Bytes {
        axum::body::to_bytes(self.body, 1 << 20).await.unwrap()
    }

    pub(crate) async fn text(self) -> String {
        String::from_utf8(self.bytes().await.to_vec()).unwrap()
    }

    pub(crate) async fn json(self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes().await).unwrap()
    }

    /// Asserts a problem of that status, and gives its sentence.
    pub(crate) async fn problem(self, status: u16) -> String {
        assert_eq!(self.status, status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "private, no-store");
        let body = self.json().await;
        assert_eq!(body["status"], status);
        body["detail"].as_str().unwrap().to_owned()
    }

    /// The body piece by piece.
    pub(crate) fn events(self) -> Events {
        assert_eq!((self.status, self.header("content-type")), (200, "text/event-stream"));
        assert_eq!(self.header("cache-control"), "private, no-store");
        Events { body: self.body.into_data_stream(), text: String::new() }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Events {
    /// Reads until an event of that kind comes, and gives its data; `None` at the stream's end.
    pub(crate) async fn next(&mut self, kind: &str) -> Option<serde_json::Value> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let data = event.strip_prefix(&format!("event: {kind}\ndata: "));
                if let Some(data) = data {
                    assert!(!data.contains('\n'), "one data line: {event}");
                    return Some(serde_json::from_str(data).unwrap());
                }
            }
            let piece = timeout(Duration::from_secs(10), self.body.next()).await;
            match piece.expect("an event or the end in time") {
                None => return None,
                Some(piece) => self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap()),
            }
        }
    }
}
