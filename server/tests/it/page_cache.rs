//! What is kept of pages and of the API, on the real router with a real catalog.

use std::{collections::HashSet, io::Read as _, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use catalog::NewAsset;
use domain::AssetId;
use futures::future::join_all;
use server::auth::Auth;

use crate::fixture::{Answer, Application, TOKEN};

const LIST: &str = "/assets?limit=100";

fn id(number: u8) -> AssetId {
    AssetId::from_digest([number; 32])
}

impl Application {
    async fn add(&self, number: u8, name: &str) {
        let mut new = NewAsset::new(id(number), name, 1, "image/jpeg");
        new.folder = "takes".to_owned();
        self.catalog.add_asset(&new).await.unwrap();
        self.front.pages().settle().await;
    }

    async fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "").await
    }

    fn rendered(&self) -> u64 {
        self.front.pages().rendered()
    }

    /// Waits until nothing is being made any more.
    async fn wait_rendered(&self, count: u64) {
        let wait = async {
            while self.rendered() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    }
}

async fn open(folder: &tempfile::TempDir) -> Application {
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for number in 1..=20 {
        application.add(number, &format!("take {number}.jpg")).await;
    }
    application
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_made_once_and_then_kept_under_one_address() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let first = application.fetch(LIST, &[]).await;
    assert_eq!((first.status, first.header("x-cache")), (200, "MISS"));
    assert_eq!(first.header("cache-status"), "damwall; fwd=uri-miss; stored");
    let etag = first.header("etag").to_owned();
    let text = first.text().await;
    assert!(text.contains("take 20.jpg"), "{text}");

    for path in [LIST, "/assets?utm_source=x&limit=100", "/assets?limit=%3100&after="] {
        let again = application.fetch(path, &[]).await;
        assert_eq!((again.status, again.header("x-cache")), (200, "HIT"), "{path}");
        assert!(again.header("cache-status").starts_with("damwall; hit; ttl=5"), "{path}");
        assert_eq!(again.header("etag"), etag);
        assert_eq!(again.header("vary"), "Accept-Encoding");
        assert_eq!(again.header("x-content-type-options"), "nosniff");
        assert_eq!(again.text().await, text);
    }
    assert_eq!(application.rendered(), 1);
    assert_eq!(application.fetch("/api/assets?limit=5", &[]).await.header("x-cache"), "MISS");
    let json = application.fetch("/api/assets?limit=5", &[]).await;
    assert_eq!(json.header("x-cache"), "HIT");
    assert_eq!(json.header("vary"), "Accept-Encoding, Origin");
    assert_eq!(json.json().await["items"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_askers_of_an_expired_page_have_it_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let application = Arc::new(open(&folder).await);
    let crowd = |application: &Arc<Application>| {
        let askers = (0..1000).map(|_| {
            let application = application.clone();
            tokio::spawn(async move {
                let answer = application.fetch(LIST, &[]).await;
                assert_eq!(answer.status, 200);
                answer.header("x-cache").to_owned()
            })
        });
        let askers = join_all(askers.collect::<Vec<_>>());
        async move { askers.await.into_iter().map(Result::unwrap).collect::<HashSet<String>>() }
    };
    crowd(&application).await;
    assert_eq!(application.rendered(), 1, "one that was never made");

    application.clock.advance(secs(61));
    let told = crowd(&application).await;
    application.wait_rendered(2).await;
    assert!(told.contains("STALE") && !told.contains("MISS"), "{told:?}");
    // Begun is not landed; what lands later would be fresh below.
    while application.fetch(LIST, &[]).await.header("x-cache") != "HIT" {
        tokio::task::yield_now().await;
    }
    // The one behind may have landed before the last of them came.
    assert_eq!(application.rendered(), 2, "a stale one");

    application.clock.advance(secs(300));
    let told = crowd(&application).await;
    assert!(told.contains("REVALIDATED"), "{told:?}");
    assert_eq!(application.rendered(), 3, "an old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_render_leaves_the_last_good_page_and_is_not_tried_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let good = application.fetch(LIST, &[]).await.text().await;
    application.catalog.close().await;
    application.clock.advance(secs(300));
    for _ in 0..3 {
        let kept = application.fetch(LIST, &[]).await;
        assert_eq!((kept.status, kept.header("x-cache")), (200, "STALE"));
        assert!(kept.header("cache-status").ends_with("detail=render-failed"));
        assert_eq!(kept.text().await, good);
    }
    assert_eq!(application.rendered(), 2);
    application.clock.advance(secs(3));
    assert_eq!(application.fetch(LIST, &[]).await.status, 200);
    assert_eq!(application.rendered(), 3, "after 3 s it is tried again");

    // With no good page the failure is told, and kept for as long.
    for _ in 0..3 {
        let failed = application.fetch("/assets", &[]).await;
        assert_eq!((failed.status, failed.header("retry-after")), (503, "3"));
        assert_eq!(failed.header("cache-control"), "private, no-store");
        assert!(failed.text().await.contains("cannot answer at the moment"));
    }
    assert_eq!(application.rendered(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_makes_the_pages_that_show_it_anew_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let (other, api) = (format!("/assets/{}", id(7)), format!("/api/assets/{}", id(30)));
    application.fetch(LIST, &[]).await;
    application.fetch(&other, &[]).await;
    assert_eq!(application.fetch(&api, &[]).await.status, 404);

    application.add(30, "new one.jpg").await;
    let list = application.fetch(LIST, &[]).await;
    assert_eq!(list.header("x-cache"), "REVALIDATED");
    assert_eq!(list.header("cache-status"), "damwall; fwd=stale; stored");
    assert!(list.text().await.contains("new one.jpg"));
    assert_eq!(application.fetch(LIST, &[]).await.header("x-cache"), "HIT");
    assert_eq!(application.fetch(&other, &[]).await.header("x-cache"), "HIT");
    assert_eq!(application.fetch(&api, &[]).await.status, 200, "that there was none is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_labels_counts_collections_and_filters_are_kept_until_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let paths = ["folders", "labels", "facets", "buckets", "collections", "filters"];
    let mut paths = paths.map(|name| format!("/api/{name}")).to_vec();
    paths.extend(["/v1/folders".to_owned(), "/v1/assets".to_owned()]);
    let mut before = Vec::new();
    for path in &paths {
        before.push(application.fetch(path, &[]).await.text().await);
        let again = application.fetch(path, &[]).await;
        assert_eq!((again.status, again.header("x-cache")), (200, "HIT"), "{path}");
    }
    let catalog = &application.catalog;
    application.add(30, "new one.jpg").await;
    catalog.add_labels(&[id(30)], &["sea".parse().unwrap()]).await.unwrap();
    catalog.create_collection(&"Reel".parse().unwrap()).await.unwrap();
    catalog.save_filter(&"Sea".parse().unwrap(), &Default::default()).await.unwrap();
    application.front.pages().settle().await;
    for (path, before) in paths.iter().zip(before) {
        let after = application.fetch(path, &[]).await;
        assert_eq!(after.header("x-cache"), "REVALIDATED", "{path}");
        assert_eq!(after.text().await == before, path == "/api/facets", "{path}");
    }
    let (metadata, reel) = (format!("/api/assets/{}/metadata", id(30)), "/api/collections/1");
    for path in [&*metadata, reel] {
        for x_cache in ["MISS", "HIT"] {
            let answer = application.fetch(path, &[]).await;
            assert_eq!((answer.status, answer.header("x-cache")), (200, x_cache), "{path}");
        }
    }
    catalog.trash(&[id(30)]).await.unwrap();
    application.front.pages().settle().await;
    for path in [&*metadata, reel] {
        assert_eq!(application.fetch(path, &[]).await.header("x-cache"), "REVALIDATED", "{path}");
    }
    for (path, items) in [("/api/labels", "{\"items\":[]}"), ("/api/buckets?q=new", "\"total\":0")]
    {
        let after = application.fetch(path, &[]).await.text().await;
        assert!(after.contains(items), "{path}: {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_of_trash_and_collections_are_kept_until_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let catalog = &application.catalog;
    application.add(30, "reel one.jpg").await;
    application.add(31, "old one.jpg").await;
    let reel = catalog.create_collection(&"Reel".parse().unwrap()).await.unwrap();
    application.front.pages().settle().await;
    let one = format!("/assets/collections/{}", reel.id);
    let pages = ["/assets/trash", "/assets/collections", one.as_str()];
    for page in pages {
        for x_cache in ["MISS", "HIT"] {
            let answer = application.fetch(page, &[]).await;
            assert_eq!((answer.status, answer.header("x-cache")), (200, x_cache), "{page}");
        }
    }

    let shows = async |page: &str, x_cache: &str, text: &str| {
        application.front.pages().settle().await;
        let answer = application.fetch(page, &[]).await;
        assert_eq!(answer.header("x-cache"), x_cache, "{page}");
        assert!(answer.text().await.contains(text), "{page} lacks {text}");
    };
    catalog.rename_collection(reel.id, &"Showreel".parse().unwrap()).await.unwrap();
    shows("/assets/collections", "REVALIDATED", "Showreel").await;
    catalog.add_to_collection(reel.id, &[id(30)]).await.unwrap();
    shows(&one, "REVALIDATED", "reel one.jpg").await;
    catalog.trash(&[id(31)]).await.unwrap();
    shows("/assets/trash", "REVALIDATED", "old one.jpg").await;
    shows("/assets/trash", "HIT", "old one.jpg").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_collection_that_is_gone_is_not_found_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let reel = application.catalog.create_collection(&"Reel".parse().unwrap()).await.unwrap();
    application.front.pages().settle().await;
    let page = format!("/assets/collections/{}", reel.id);
    let listing = format!("/fn/assets?query=collection%3D{}", reel.id);
    for path in [&page, &listing] {
        assert_eq!(application.fetch(path, &[]).await.status, 200, "{path}");
    }
    assert!(application.catalog.delete_collection(reel.id).await.unwrap());
    application.front.pages().settle().await;
    let never = format!("/assets/collections/{}", reel.id.get() + 1);
    let trash = format!("/assets/trash?collection={}", reel.id);
    for path in [&page, &listing, &never, &trash, &page] {
        let answer = application.fetch(path, &[]).await;
        assert_eq!((answer.status, answer.header("cache-control")), (404, "private, no-store"));
        assert_ne!(answer.header("x-cache"), "HIT", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_page_that_was_made_for_another_role_or_login() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    let application = Application::start(folder.path(), auth, "").await;
    let bearer = format!("Bearer {token}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let login = application.send("POST", "/login", &form, format!("token={token}")).await;
    let cookie = login.header("set-cookie").split(';').next().unwrap().to_owned();

    let with_token = [("authorization", bearer.as_str())];
    let with_cookie = [("cookie", cookie.as_str())];
    for (headers, has_logout) in [(&with_token, false), (&with_cookie, true)] {
        for x_cache in ["MISS", "HIT"] {
            let answer = application.fetch("/assets", headers).await;
            assert_eq!((answer.status, answer.header("x-cache")), (200, x_cache));
            assert_eq!(answer.header("cache-control"), "private, no-cache");
            let etag = answer.header("etag").to_owned();
            let text = answer.text().await;
            assert_eq!(text.contains("Log out"), has_logout, "{headers:?}");
            let known = [headers[0], ("if-none-match", etag.as_str())];
            let not_modified = application.fetch("/assets", &known).await;
            assert_eq!(not_modified.status, 304);
            assert_eq!(not_modified.header("cache-control"), "private, no-cache");
        }
    }
    for headers in [&[][..], &[("cookie", "damwall=wrong")], &[("if-none-match", "*")]] {
        let refused = application.fetch("/assets", headers).await;
        assert_eq!((refused.status, refused.header("x-cache")), (401, ""), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_askers_own_gets_into_what_others_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let evil = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "evil"),
        ("x-original-url", "/evil"),
        ("forwarded", "host=evil.example"),
        ("accept-language", "evil"),
        ("cookie", "damwall=evil; theme=evil"),
        ("referer", "http://evil.example/"),
        ("origin", "http://evil.example"),
        ("user-agent", "evil"),
        ("accept", "text/evil"),
        ("cache-control", "no-cache"),
    ];
    let poisoned = application.fetch("/assets?limit=100&evil=evil", &evil).await;
    assert_eq!((poisoned.status, poisoned.header("x-cache")), (200, "MISS"));
    let (poisoned_headers, poisoned) = (poisoned.headers.clone(), poisoned.text().await);
    assert!(!poisoned.contains("evil"), "{poisoned}");
    let clean = application.fetch(LIST, &[]).await;
    assert_eq!(clean.header("x-cache"), "HIT");
    assert!(
        clean
            .headers
            .values()
            .chain(poisoned_headers.values())
            .all(|value| { !String::from_utf8_lossy(value.as_bytes()).contains("evil") })
    );
    assert_eq!(clean.text().await, poisoned);
    // What could be read in two ways, or is not the API's, is no one's answer but the asker's.
    for path in ["/assets?limit=5&limit=6", "/api/assets?limit=5&x=1"] {
        assert_eq!(application.fetch(path, &[]).await.header("x-cache"), "", "{path}");
    }
    let foreign = application.fetch(LIST, &[("host", "evil.example")]).await;
    assert_eq!((foreign.status, foreign.header("x-cache")), (421, ""), "a name that is not ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_encoding_has_its_tag_and_all_of_them_are_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let plain = application.fetch(LIST, &[]).await;
    let plain_etag = plain.header("etag").to_owned();
    let text = plain.text().await;

    let gzip = application.fetch(LIST, &[("accept-encoding", "gzip")]).await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    let gzip_etag = gzip.header("etag").to_owned();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&gzip.bytes().await[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, text);

    let browser = ("accept-encoding", "gzip, deflate, br, zstd");
    let wait_brotli = async {
        loop {
            let answer = application.fetch(LIST, &[browser]).await;
            if answer.header("content-encoding") == "br" {
                return answer;
            }
            assert_eq!(answer.header("content-encoding"), "gzip", "until it is made");
            tokio::task::yield_now().await;
        }
    };
    let brotli = tokio::time::timeout(secs(30), wait_brotli).await.unwrap();
    let brotli_etag = brotli.header("etag").to_owned();
    let mut unpacked = Vec::new();
    brotli::BrotliDecompress(&mut &brotli.bytes().await[..], &mut unpacked).unwrap();
    assert_eq!(unpacked, text.as_bytes());

    let etags = [plain_etag.clone(), gzip_etag, brotli_etag];
    assert_eq!(etags.iter().collect::<HashSet<_>>().len(), 3);
    for known in etags.iter().map(String::as_str).chain([&*format!("\"x\", W/{plain_etag}"), "*"]) {
        for accept in ["identity", "gzip", browser.1] {
            let headers = [("accept-encoding", accept), ("if-none-match", known)];
            let answer = application.fetch(LIST, &headers).await;
            assert_eq!(answer.status, 304, "{known} {accept}");
            assert!(known.contains(answer.header("etag")) || known == "*");
            assert_eq!(answer.header("vary"), "Accept-Encoding");
            assert!(answer.bytes().await.is_empty());
        }
    }
    assert_eq!(application.fetch(LIST, &[("if-none-match", "\"other\"")]).await.status, 200);

    let head = application.send("HEAD", LIST, &[("accept-encoding", "gzip")], "").await;
    assert_eq!((head.status, head.header("content-encoding")), (200, "gzip"));
    assert!(head.header("content-length").parse::<usize>().unwrap() > 0);
    assert!(head.bytes().await.is_empty());
    assert_eq!(application.rendered(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_page_has_no_nonce_and_names_its_scripts_by_their_hash() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let answer = application.fetch(LIST, &[]).await;
    let policy = answer.header("content-security-policy").to_owned();
    let etag = answer.header("etag").to_owned();
    let text = answer.text().await;
    assert!(!policy.contains("nonce") && !text.contains("nonce="), "{policy}");
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    let mut inline = 0;
    for script in text.split("<script").skip(1) {
        let (_, inside) = script.split_once('>').unwrap();
        let (inside, _) = inside.split_once("</script").unwrap();
        if !inside.is_empty() {
            inline += 1;
            use sha2::Digest as _;
            let hash = STANDARD.encode(sha2::Sha256::digest(inside));
            assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy} lacks {inside}");
        }
    }
    assert!(inline >= 2, "the module and the resources: {text}");

    // Made anew from the same rows it is the same, to the byte: browsers need not fetch it again.
    application.clock.advance(secs(300));
    let again = application.fetch(LIST, &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.header("x-cache")), (304, "REVALIDATED"));
    // Pages that are not kept still have one.
    let live = application.fetch("/live", &[]).await;
    assert!(live.header("content-security-policy").contains("'nonce-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let application = open(&folder).await;
    let before = application.fetch(LIST, &[]).await;
    let etag = before.header("etag").to_owned();
    let text = before.text().await;
    application.fetch("/assets", &[]).await;
    application.stop().await;

    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let after = application.fetch(LIST, &[]).await;
    assert_eq!((after.status, after.header("x-cache")), (200, "STALE"));
    assert_eq!(after.header("etag"), etag);
    assert_eq!(after.text().await, text);
    application.wait_rendered(1).await;
}
