//! Several servers that verify the uploads of one library, one that is killed in the middle of it, and bytes
//! that come back while they are purged.

use std::{
    collections::HashSet,
    env,
    pin::pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use catalog::{
    BlobStore, Catalog, CatalogUrl, UploadOptions, Uploads, blob::S3Store, purge_asset, purge_trash,
};
use domain::{Upload, UploadState};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    database::{Database, on_both},
    fixture::Fixture,
    media,
    uploads::{Library, PATIENCE, announced},
    weed::Weed,
};

/// Where the process that is to be killed finds its catalog and its store.
const LIBRARY: &str = "DAMWALL_TEST_VERIFIER";
/// What a read of an upload begins with.
const GET: &str = "GET /media/blobs/uploads/";
/// What the removal of an original begins with.
const DELETE: &str = "DELETE /media/blobs/sha256/";

/// Passes on what is sent to the store, but for requests that begin so: these wait until it is opened.
pub struct Gate {
    pub endpoint: String,
    held: Arc<watch::Sender<Vec<String>>>,
    is_open: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Gate {
    pub async fn before(weed: &Weed, hold: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = weed.config().endpoint.trim_start_matches("http://").to_owned();
        let (held, is_open) = (Arc::new(watch::Sender::new(Vec::new())), watch::Sender::new(false));
        let (seen, opened) = (held.clone(), is_open.subscribe());
        let task = tokio::spawn(async move {
            while let Ok((asker, _)) = listener.accept().await {
                tokio::spawn(pass_on(asker, store.clone(), hold, seen.clone(), opened.clone()));
            }
        });
        Self { endpoint, held, is_open, _task: AbortOnDropHandle::new(task) }
    }

    /// How the keys of these requests ended, once there are that many; others may follow.
    pub async fn held(&self, count: usize) -> Vec<String> {
        let mut held = self.held.subscribe();
        let enough = held.wait_for(|held| held.len() >= count);
        tokio::time::timeout(PATIENCE, enough).await.expect("they are sent").unwrap().clone()
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn pass_on(
    asker: TcpStream,
    store: String,
    hold: &str,
    held: Arc<watch::Sender<Vec<String>>>,
    mut is_open: watch::Receiver<bool>,
) {
    let store = TcpStream::connect(store).await.unwrap();
    let (mut from_asker, mut to_asker) = asker.into_split();
    let (mut from_store, mut to_store) = store.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_store, &mut to_asker).await });
    let mut buffer = vec![0; 64 << 10];
    // The head of a request is small and comes whole.
    while let Ok(len @ 1..) = from_asker.read(&mut buffer).await {
        let sent = &buffer[..len];
        if let Some(rest) = sent.strip_prefix(hold.as_bytes()) {
            let key = rest.split(|byte| b" ?".contains(byte)).next().unwrap();
            held.send_modify(|held| held.push(String::from_utf8(key.to_vec()).unwrap()));
            if is_open.wait_for(|is_open| *is_open).await.is_err() {
                return;
            }
        }
        if to_store.write_all(sent).await.is_err() {
            return;
        }
    }
}

pub fn store(endpoint: &str) -> BlobStore {
    BlobStore::S3(S3Store::new(&Weed::config_at(endpoint)))
}

fn options(lease: Duration) -> UploadOptions {
    UploadOptions { lease, ..UploadOptions::default() }
}

/// A library whose verifiers go through the gate, and whose uploads do not.
async fn library(db: &Database, weed: &Weed) -> Library {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::with_store(dir, BlobStore::S3(S3Store::new(&weed.config()))).await;
    fixture.catalog = db.open().await;
    Library::new(fixture)
}

/// An upload whose parts are all there, and that waits to be verified.
async fn waiting(library: &Library, bytes: &[u8]) -> Upload {
    let upload = library.begin(announced("a.jpg", bytes)).await;
    library.send_all(&upload, bytes).await;
    let upload = library.uploads.complete(&upload.id, &[], Duration::ZERO).await.unwrap();
    assert_eq!(upload.state, UploadState::Verifying);
    upload
}

async fn state_of(library: &Library, upload: &Upload) -> UploadState {
    library.uploads.find(&upload.id).await.unwrap().expect("it is known").state
}

on_both! {
    async fn two_servers_read_an_upload_once(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, GET).await);
        let server = async || {
            Uploads::new(db.open().await, store(&gate.endpoint))
        };
        let (one, other) = (server().await, server().await);
        let settled = async |upload: &Upload| {
            one.complete(&upload.id, &[], PATIENCE).await.unwrap().state
        };
        // Of one upload. Every lane of both servers looks for it at once.
        let bytes = media::jpeg(64, 48);
        let upload = waiting(&library, &bytes).await;
        let token = CancellationToken::new();
        let verified = async {
            assert_eq!(gate.held(1).await, [upload.id.as_str()]);
            gate.open();
            assert_eq!(settled(&upload).await, UploadState::Done);
            token.cancel();
        };
        tokio::join!(one.run(token.clone()), other.run(token.clone()), verified);
        assert_eq!(gate.held(1).await.len(), 1, "nobody else has read it");
        library.assert_only(&bytes).await;

        // Of several: each lane holds another one, for as long as none can be read.
        let gate = Gate::before(&weed, GET).await;
        let server = async || {
            Uploads::new(db.open().await, store(&gate.endpoint))
        };
        let (one, other) = (server().await, server().await);
        let mut uploads = Vec::new();
        for width in 50..54 {
            uploads.push(waiting(&library, &media::jpeg(width, 50)).await);
        }
        let token = CancellationToken::new();
        let verified = async {
            let reads: HashSet<String> = gate.held(4).await.into_iter().collect();
            assert_eq!(reads.len(), 4, "each is read by one");
            gate.open();
            for upload in &uploads {
                assert_eq!(settled(upload).await, UploadState::Done);
            }
            token.cancel();
        };
        tokio::join!(one.run(token.clone()), other.run(token.clone()), verified);
        assert_eq!(gate.held(4).await.len(), 4);
        assert_eq!(library.fixture.assets().await.len(), 5);
    }

    async fn two_pages_that_complete_one_upload_at_once_are_told_the_same(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, GET).await);
        let bytes = media::jpeg(64, 48);
        let upload = library.begin(announced("a.jpg", &bytes)).await;
        library.send_all(&upload, &bytes).await;
        // The one asks for the parts when the other has had them put together.
        let late = Uploads::new(db.open().await, store(&gate.endpoint));
        let late = late.complete(&upload.id, &[], PATIENCE);
        let meanwhile = async {
            gate.held(1).await;
            assert_eq!(library.complete(&upload).await.state, UploadState::Done);
            gate.open();
        };
        let (late, ()) = tokio::join!(late, meanwhile);
        assert_eq!(late.unwrap().state, UploadState::Done);
        assert_eq!(state_of(&library, &upload).await, UploadState::Done);
        library.assert_only(&bytes).await;
    }

    async fn what_a_killed_server_was_verifying_is_verified_by_another(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, GET).await);
        let bytes = media::jpeg(64, 48);
        let upload = waiting(&library, &bytes).await;
        let server = Server::start(&db, &gate, Duration::from_secs(2));
        gate.held(1).await;
        drop(server);
        assert_eq!(state_of(&library, &upload).await, UploadState::Verifying);
        gate.open();
        let other = Uploads::with_options(
            db.open().await,
            library.fixture.store.clone(),
            options(Duration::from_secs(2)),
        );
        let token = CancellationToken::new();
        let verified = async {
            let upload = other.complete(&upload.id, &[], PATIENCE).await.unwrap();
            token.cancel();
            upload.state
        };
        let (state, ()) = tokio::join!(verified, other.run(token.clone()));
        assert_eq!(state, UploadState::Done);
        library.assert_only(&bytes).await;
    }

    async fn a_killed_server_that_is_alone_goes_on_at_once(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, GET).await);
        let bytes = media::jpeg(64, 48);
        let upload = waiting(&library, &bytes).await;
        let server = Server::start(&db, &gate, Duration::from_secs(3600));
        gate.held(1).await;
        drop(server);
        assert_eq!(library.complete(&upload).await.state, UploadState::Done);
        library.assert_only(&bytes).await;
    }

    async fn a_server_that_stops_leaves_its_uploads_to_another(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, GET).await);
        let bytes = media::jpeg(64, 48);
        let upload = waiting(&library, &bytes).await;
        let hour = options(Duration::from_secs(3600));
        let server = |store| Uploads::with_options(library.fixture.catalog.clone(), store, hour.clone());
        let (first, token) = (server(store(&gate.endpoint)), CancellationToken::new());
        let stop = async {
            gate.held(1).await;
            token.cancel();
        };
        tokio::join!(first.run(token.clone()), stop);
        assert_eq!(state_of(&library, &upload).await, UploadState::Verifying);
        let (second, token) = (server(library.fixture.store.clone()), CancellationToken::new());
        let verified = async {
            let upload = second.complete(&upload.id, &[], PATIENCE).await.unwrap();
            token.cancel();
            upload.state
        };
        let (state, ()) = tokio::join!(verified, second.run(token.clone()));
        assert_eq!(state, UploadState::Done);
        library.assert_only(&bytes).await;
    }
}

on_both! {
    async fn bytes_that_come_back_while_their_object_is_removed_are_there_afterwards(db: Database) {
        let weed = Weed::start().await;
        let (library, gate) = (library(&db, &weed).await, Gate::before(&weed, DELETE).await);
        let catalog = &library.fixture.catalog;
        let bytes = media::jpeg(64, 48);
        library.complete(&waiting(&library, &bytes).await).await;
        let asset = library.assert_only(&bytes).await;
        catalog.trash(std::slice::from_ref(&asset.id)).await.unwrap();
        let comes_back = async {
            assert_eq!(gate.held(1).await.len(), 1);
            let upload = waiting(&library, &bytes).await;
            let mut verified = pin!(library.complete(&upload));
            let early = tokio::time::timeout(Duration::from_millis(500), verified.as_mut()).await;
            assert!(early.is_err(), "what is being removed is not there: {early:?}");
            gate.open();
            assert_eq!(verified.await.state, UploadState::Done);
        };
        let store = store(&gate.endpoint);
        let (removed, ()) = tokio::join!(purge_asset(catalog, &store, &asset.id), comes_back);
        assert!(removed.unwrap());
        library.assert_only(&bytes).await;
    }

    async fn what_a_purge_that_was_cut_off_has_left_is_removed_by_the_next_but_for_what_came_back(
        db: Database
    ) {
        let mut fixture = Fixture::new().await;
        fixture.catalog = db.open().await;
        let paths = [40, 41].map(|n| fixture.write(&format!("{n}.jpg"), &media::jpeg(n, 30)));
        fixture.import().await;
        let assets = fixture.assets().await;
        let ids: Vec<_> = assets.iter().map(|asset| asset.id.clone()).collect();
        fixture.catalog.trash(&ids).await.unwrap();
        // No further: the process has ended.
        assert_eq!(fixture.catalog.purge(Timestamp::MAX).await.unwrap().len(), 2);
        std::fs::remove_file(&paths[0]).unwrap();
        assert_eq!(fixture.import().await.imported, 1);

        let removed = purge_trash(&fixture.catalog, &fixture.store, Timestamp::now()).await;
        assert_eq!(removed.unwrap(), 1);
        let kept = fixture.asset().await;
        for asset in assets {
            let is_there = fixture.store.head(&asset.key.parse().unwrap()).await.unwrap().is_some();
            assert_eq!(is_there, asset.id == kept.id);
        }
        let again = purge_trash(&fixture.catalog, &fixture.store, Timestamp::now()).await;
        assert_eq!(again.unwrap(), 0);
    }
}

/// Not a test by itself: the server that the tests above start and kill.
#[tokio::test]
async fn server_that_is_to_be_killed() {
    let Ok(library) = env::var(LIBRARY) else { return };
    let [url, endpoint, lease_secs] = library.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{library}")
    };
    let url: CatalogUrl = url.parse().unwrap();
    let store = S3Store::new(&Weed::config_at(endpoint));
    let lease = Duration::from_secs(lease_secs.parse().unwrap());
    let catalog = Catalog::open(&url).await.unwrap();
    let uploads = Uploads::with_options(catalog, BlobStore::S3(store), options(lease));
    uploads.run(CancellationToken::new()).await;
}

struct Server(Child);

impl Server {
    fn start(db: &Database, gate: &Gate, lease: Duration) -> Self {
        let library = [&db.url_text(), &gate.endpoint, &lease.as_secs().to_string()];
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["verifiers::server_that_is_to_be_killed", "--exact", "--nocapture"])
            .env(LIBRARY, library.map(String::as_str).join("\n"))
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
