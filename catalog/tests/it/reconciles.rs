use std::{
    collections::BTreeSet,
    env,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use catalog::{
    BlobKey, BlobStore, ReconcileOptions, ReconcileSummary, Tag,
    blob::{FolderStore, LinkSecret, S3Store},
    reconcile,
    reconcile::{From, ReconcileError, reconcile_key},
};
use domain::{Asset, AssetPatch, AssetQuery};

use crate::{fixture::Fixture, library::recording, media, weed::Weed};

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

async fn put(f: &Fixture, key_text: &str, bytes: Vec<u8>) {
    f.store.put_bytes(&key(key_text), Bytes::from(bytes), "image/jpeg").await.unwrap();
}

async fn look(f: &Fixture) -> ReconcileSummary {
    // Small pages, so that there are several.
    let options = ReconcileOptions { page_objects: 3, ..ReconcileOptions::default() };
    reconcile(&f.catalog, &f.store, &options, |_| {}).await.unwrap()
}

async fn asset_named(f: &Fixture, name: &str) -> Asset {
    let found = f.assets().await.into_iter().find(|asset| asset.name == name);
    found.unwrap_or_else(|| panic!("no asset {name}"))
}

async fn is_missing(f: &Fixture, asset: &Asset) -> bool {
    f.catalog.missing_since(&asset.id).await.unwrap().is_some()
}

#[tokio::test]
async fn a_look_finds_what_others_put_into_the_store() {
    let f = Fixture::new().await;
    put(&f, "trip/day 1/a.jpg", media::jpeg(40, 30)).await;
    put(&f, "top.jpg", media::jpeg(41, 30)).await;
    put(&f, "trip/copy-of-a.jpg", media::jpeg(40, 30)).await;
    put(&f, "trip/note.txt", b"hello".to_vec()).await;
    f.write("imported.jpg", &media::jpeg(42, 30));
    f.import().await;

    // On a task of its own, as a server does it.
    let (catalog, store) = (f.catalog.clone(), f.store.clone());
    let options = ReconcileOptions::default();
    let task = tokio::spawn(async move { reconcile(&catalog, &store, &options, |_| {}).await });
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.registered, summary.already_there, summary.skipped), (2, 1, 1));
    assert_eq!((summary.failed, summary.missing, summary.moved), (0, 0, 0));
    let assets = f.assets().await;
    assert_eq!(assets.len(), 3);
    let found = assets.iter().find(|asset| asset.name == "a.jpg" || asset.name == "copy-of-a.jpg");
    let found = found.unwrap();
    assert_eq!(found.folder, key(&found.key).folder());
    assert!(assets.iter().any(|asset| asset.key == "top.jpg" && asset.folder.is_empty()));

    let again = look(&f).await;
    assert_eq!((again.registered, again.already_there, again.skipped), (0, 4, 0));
    assert_eq!(f.assets().await, assets);
}

#[tokio::test]
async fn an_object_that_was_replaced_is_a_new_asset() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    let before = f.asset().await;
    let ids = std::slice::from_ref(&before.id);
    f.catalog.add_labels(ids, &["dawn".parse().unwrap()]).await.unwrap();
    let collection = f.catalog.create_collection(&"Best".parse().unwrap()).await.unwrap();
    f.catalog.add_to_collection(collection.id, ids).await.unwrap();
    let patch = AssetPatch {
        name: Some("Sunrise.jpg".parse().unwrap()),
        folder: Some("best/of".parse().unwrap()),
        labels: None,
    };
    f.catalog.update_asset(&before.id, &patch).await.unwrap();

    put(&f, "a.jpg", media::jpeg(44, 30)).await;
    let mut changes = f.catalog.changes();
    assert_eq!(look(&f).await.registered, 1);
    let after = f.asset().await;
    assert_ne!(before.id, after.id);
    assert_eq!(before.key, after.key);
    assert_eq!(after.labels, ["dawn"], "what people gave it is inherited");
    assert_eq!((after.name.as_str(), after.folder.as_str()), ("Sunrise.jpg", "best/of"));
    let found = AssetQuery::parse("q=sunrise+dawn").unwrap();
    assert_eq!(f.catalog.list_assets(&found).await.unwrap().items, std::slice::from_ref(&after));
    // In one transaction: nobody sees the one without what the other had.
    let first = changes.try_recv().unwrap();
    for tag in [Tag::Asset(before.id), Tag::Asset(after.id), Tag::Tags, Tag::Collections] {
        assert!(first.contains(&tag), "{tag} is not in {first:?}");
    }
    let collections = f.catalog.collections().await.unwrap();
    assert_eq!(collections[0].assets, 1);
}

#[tokio::test]
async fn an_object_replaced_by_bytes_that_are_an_asset_already_leaves_its_labels_to_that() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    put(&f, "b.jpg", media::jpeg(44, 30)).await;
    look(&f).await;
    let (old, heir) = (asset_named(&f, "a.jpg").await, asset_named(&f, "b.jpg").await);
    let label = |text: &str| text.parse().unwrap();
    f.catalog.add_labels(&[old.id.clone(), heir.id.clone()], &[label("sea")]).await.unwrap();
    f.catalog.add_labels(std::slice::from_ref(&old.id), &[label("dawn")]).await.unwrap();
    f.do_jobs().await;
    let thumb = f.catalog.rendition_key(&old.id, domain::RenditionKind::Thumb320).await.unwrap();
    let thumb = thumb.unwrap();

    let mut changes = f.catalog.changes();
    put(&f, "a.jpg", media::jpeg(44, 30)).await;
    look(&f).await;
    let only = f.asset().await;
    assert_eq!((only.id, only.labels), (heir.id, vec!["dawn".to_owned(), "sea".to_owned()]));
    let told = changes.try_recv().unwrap();
    assert!(told.contains(&Tag::Tags) && told.contains(&Tag::Asset(old.id)), "{told:?}");
    // What was made of the old bytes goes with the next purge.
    assert!(f.store.head(&thumb).await.unwrap().is_some());
    catalog::purge_trash(&f.catalog, &f.store, jiff::Timestamp::now()).await.unwrap();
    assert!(f.store.head(&thumb).await.unwrap().is_none());
}

#[tokio::test]
async fn what_others_put_into_the_store_is_purged_from_the_catalog_alone_and_stays_so() {
    let f = Fixture::new().await;
    put(&f, "theirs.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    f.write("ours.jpg", &media::jpeg(41, 30));
    f.import().await;
    let assets = f.assets().await;
    let ids: Vec<_> = assets.iter().map(|asset| asset.id.clone()).collect();
    f.catalog.trash(&ids).await.unwrap();
    let soon = jiff::Timestamp::now() + Duration::from_secs(1);
    let removed = catalog::purge_trash(&f.catalog, &f.store, soon).await.unwrap();
    assert_eq!(removed, 1);
    for asset in assets {
        let is_theirs = asset.name == "theirs.jpg";
        assert_eq!(f.store.head(&key(&asset.key)).await.unwrap().is_some(), is_theirs);
    }
    let quiet = look(&f).await;
    assert!(!quiet.is_change() && f.assets().await.is_empty(), "{quiet:?}");
}

#[tokio::test]
async fn what_was_purged_stays_so_with_every_copy_of_it_when_the_process_ended_before_it_removed_anything()
 {
    let f = Fixture::new().await;
    put(&f, "theirs.jpg", media::jpeg(40, 30)).await;
    put(&f, "trip/copy.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    let asset = f.asset().await;
    f.catalog.trash(std::slice::from_ref(&asset.id)).await.unwrap();
    // No further: the process has ended.
    assert_eq!(f.catalog.purge(jiff::Timestamp::MAX).await.unwrap(), [key(&asset.key)]);
    let quiet = look(&f).await;
    assert!(!quiet.is_change() && f.assets().await.is_empty(), "{quiet:?}");
    // Other bytes under such a key are news.
    put(&f, "trip/copy.jpg", media::jpeg(44, 30)).await;
    assert_eq!(look(&f).await.registered, 1);
}

#[tokio::test]
async fn an_asset_whose_object_was_replaced_lives_on_in_a_copy() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    let before = f.asset().await;
    put(&f, "z-copy.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    put(&f, "a.jpg", media::jpeg(44, 30)).await;
    look(&f).await;
    assert_eq!(f.assets().await.len(), 2);
    let kept = f.catalog.asset(&before.id).await.unwrap().unwrap();
    assert_eq!(kept.key, "z-copy.jpg");
}

#[tokio::test]
async fn an_asset_follows_its_original_and_is_never_two() {
    let f = Fixture::new().await;
    for (name, side) in [("m/a.jpg", 40), ("m/b.jpg", 41), ("m/c.jpg", 42), ("m/d.jpg", 43)] {
        put(&f, name, media::jpeg(side, 30)).await;
    }
    look(&f).await;
    let before = f.assets().await;
    let root = f.store_root().to_owned();
    // To a key before, and to one after; both by hand.
    fs::create_dir(root.join("0")).unwrap();
    fs::rename(root.join("m/a.jpg"), root.join("0/first.jpg")).unwrap();
    fs::create_dir(root.join("z")).unwrap();
    fs::rename(root.join("m/b.jpg"), root.join("z/last.jpg")).unwrap();

    let summary = look(&f).await;
    assert_eq!((summary.registered, summary.moved), (0, 2), "{summary:?}");
    let after = f.assets().await;
    assert_eq!(after.len(), before.len());
    assert_eq!(asset_named(&f, "a.jpg").await.key, "0/first.jpg");
    assert_eq!(asset_named(&f, "b.jpg").await.key, "z/last.jpg");
    for asset in &after {
        assert!(!is_missing(&f, asset).await, "{asset:?}");
    }
    let quiet = look(&f).await;
    assert!(!quiet.is_change(), "{quiet:?}");
}

#[tokio::test]
async fn an_imported_original_may_be_moved_too() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    let before = f.asset().await;
    let root = f.store_root().to_owned();
    fs::rename(root.join(&before.key), root.join("by-hand.jpg")).unwrap();
    let summary = look(&f).await;
    assert_eq!((summary.registered, summary.moved), (0, 1), "{summary:?}");
    let after = f.asset().await;
    assert_eq!((after.id, after.key.as_str()), (before.id, "by-hand.jpg"));
}

#[tokio::test]
async fn an_asset_whose_original_is_nowhere_is_marked_and_found_again() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    put(&f, "b.jpg", media::jpeg(41, 30)).await;
    look(&f).await;
    let root = f.store_root().to_owned();
    fs::rename(root.join("a.jpg"), f.dir.path().join("aside.jpg")).unwrap();

    let gone = look(&f).await;
    assert_eq!((gone.missing, gone.moved, gone.registered), (1, 0, 0));
    let asset = asset_named(&f, "a.jpg").await;
    assert!(is_missing(&f, &asset).await, "the row stays");
    assert_eq!(look(&f).await.missing, 0, "it is told of once");

    fs::rename(f.dir.path().join("aside.jpg"), root.join("a.jpg")).unwrap();
    let back = look(&f).await;
    assert_eq!((back.found_again, back.registered), (1, 0));
    assert!(!is_missing(&f, &asset).await);

    // Under another name it is found as well.
    fs::remove_file(root.join("a.jpg")).unwrap();
    assert_eq!(look(&f).await.missing, 1);
    put(&f, "elsewhere/x.jpg", media::jpeg(40, 30)).await;
    let moved = look(&f).await;
    assert_eq!((moved.moved, moved.registered), (1, 0), "{moved:?}");
    assert!(!is_missing(&f, &asset).await);
    assert_eq!(f.assets().await.len(), 2);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_reason_to_call_anything_missing() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    look(&f).await;
    let unmounted = f.dir.path().join("unmounted");
    fs::rename(f.store_root(), &unmounted).unwrap();
    let is_refused = async || {
        let options = ReconcileOptions::default();
        let error = reconcile(&f.catalog, &f.store, &options, |_| {}).await.unwrap_err();
        assert!(matches!(error, ReconcileError::Store(_)), "{error}");
        let told = reconcile_key(&f.catalog, &f.store, &key("a.jpg")).await;
        assert!(matches!(told, Err(ReconcileError::Store(_))), "{told:?}");
        assert!(!is_missing(&f, &f.asset().await).await);
    };
    is_refused().await;
    // What is there when nothing is mounted, and then another store.
    fs::create_dir(f.store_root()).unwrap();
    is_refused().await;

    // Nor is another store, for a process that begins with it, unless somebody asks for just that.
    let empty = FolderStore::open(f.store_root(), LinkSecret::new([1; 32])).unwrap();
    let empty = BlobStore::Folder(empty);
    let options = ReconcileOptions::default();
    let refused = reconcile(&f.catalog, &empty, &options, |_| {}).await;
    assert!(matches!(refused, Err(ReconcileError::OtherStore)), "{refused:?}");
    let options = ReconcileOptions { from: From::Beginning, ..options };
    assert_eq!(reconcile(&f.catalog, &empty, &options, |_| {}).await.unwrap().missing, 1);

    fs::remove_dir_all(f.store_root()).unwrap();
    fs::rename(&unmounted, f.store_root()).unwrap();
    let back = reconcile(&f.catalog, &f.store, &options, |_| {}).await.unwrap();
    assert_eq!((back.found_again, back.missing), (1, 0));
    assert!(!look(&f).await.is_change());
    f.store.ping().await.unwrap();
}

/// Runs this test again as somebody who may not read everything, as root may; whether it had to.
fn is_run_without_privilege(name: &str) -> bool {
    const AGAIN: &str = "DAMWALL_TEST_WITHOUT_PRIVILEGE";
    if env::var_os(AGAIN).is_some() || fs::metadata("/proc/self").unwrap().uid() != 0 {
        return false;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", "-dac_override,-dac_read_search"])
        .arg(env::current_exe().unwrap())
        .args([&format!("reconciles::{name}"), "--exact", "--nocapture"])
        .env(AGAIN, "")
        .env_remove("DAMWALL_TEST_DATABASE");
    assert!(command.status().expect("setpriv of util-linux runs it").success());
    true
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_is_told_of_and_left_as_it_was() {
    if is_run_without_privilege("a_folder_that_may_not_be_read_is_told_of_and_left_as_it_was") {
        return;
    }
    let f = Fixture::new().await;
    for (n, name) in
        ["a.jpg", "closed/b.jpg", "closed/below/c.jpg", "named/d.jpg", "z.jpg"].iter().enumerate()
    {
        put(&f, name, media::jpeg(40 + n as u32, 30)).await;
    }
    look(&f).await;
    let before = f.assets().await;
    assert_eq!(before.len(), 5);
    let set_mode = |folder: &str, mode| {
        fs::set_permissions(f.store_root().join(folder), Permissions::from_mode(mode)).unwrap();
    };
    set_mode("closed", 0o000);
    // The names in it may be read, and nothing else.
    set_mode("named", 0o444);
    put(&f, "zz.jpg", media::jpeg(50, 30)).await;
    let partly = look(&f).await;
    assert_eq!((partly.registered, partly.missing, partly.moved), (1, 0, 0), "{partly:?}");
    let told: BTreeSet<&str> = partly.failures.iter().map(|failed| failed.key.as_str()).collect();
    assert_eq!(told, BTreeSet::from(["closed/", "named/"]));
    for asset in before {
        assert!(!is_missing(&f, &asset).await, "{asset:?}");
    }
    for folder in ["closed", "named"] {
        set_mode(folder, 0o755);
    }
    let quiet = look(&f).await;
    assert_eq!((quiet.is_change(), quiet.failed), (false, 0), "{quiet:?}");
}

#[tokio::test]
async fn a_recording_under_way_is_left_to_its_recorder() {
    let f = Fixture::new().await;
    let keys = ["recordings/yard/1.mp4", "recordings/yard/2.mp4"];
    for key_text in keys {
        f.catalog.begin_recording(&recording(key_text)).await.unwrap();
    }
    // So far it looks like anything else; of the other there is nothing yet.
    put(&f, keys[0], media::jpeg(40, 30)).await;
    let quiet = look(&f).await;
    assert_eq!((quiet.is_change(), quiet.failed), (false, 0), "{quiet:?}");
    for key_text in keys {
        reconcile_key(&f.catalog, &f.store, &key(key_text)).await.unwrap();
    }
    let under_way = f.catalog.recordings_under_way().await.unwrap();
    assert_eq!((under_way.len(), f.assets().await.len()), (2, 2), "and nothing else");
    for recording in under_way {
        assert!(!is_missing(&f, &recording).await);
    }
}

#[tokio::test]
async fn a_look_that_was_cut_off_goes_on_where_it_was() {
    let f = Fixture::new().await;
    for n in 0..10 {
        put(&f, &format!("{n}.jpg"), media::jpeg(40 + n, 30)).await;
    }
    let options = |owner: &str, from| ReconcileOptions {
        page_objects: 3,
        from,
        owner: owner.into(),
        ..ReconcileOptions::default()
    };
    // Dropped at the second page's end, before that is written down: what a kill there leaves behind.
    let (catalog, store) = (f.catalog.clone(), f.store.clone());
    let cut = std::panic::AssertUnwindSafe(async {
        reconcile(&catalog, &store, &options("one", From::Checkpoint), |summary| {
            assert!(summary.listed < 6, "cut off");
        })
        .await
    });
    assert!(futures::FutureExt::catch_unwind(cut).await.is_err());

    let busy = reconcile(&f.catalog, &f.store, &options("two", From::Checkpoint), |_| {}).await;
    assert!(matches!(busy, Err(ReconcileError::Busy)), "one at a time: {busy:?}");
    let rest = reconcile(&f.catalog, &f.store, &options("one", From::Checkpoint), |_| {}).await;
    let rest = rest.unwrap();
    assert_eq!((rest.listed, rest.already_there, rest.registered), (7, 3, 4), "{rest:?}");
    assert_eq!(f.assets().await.len(), 10);
    let next = reconcile(&f.catalog, &f.store, &options("two", From::Beginning), |_| {}).await;
    let next = next.unwrap();
    assert_eq!((next.listed, next.already_there), (10, 10));
}

#[tokio::test]
async fn an_object_that_is_told_of_is_looked_at_right_away() {
    let f = Fixture::new().await;
    let told = async |text: &str| reconcile_key(&f.catalog, &f.store, &key(text)).await.unwrap();
    put(&f, "trip/a.jpg", media::jpeg(40, 30)).await;
    told("trip/a.jpg").await;
    told("trip/a.jpg").await;
    let asset = f.asset().await;
    assert_eq!(asset.folder, "trip");

    told("never/was.jpg").await;
    // Moved: the new object is told of first, or the old one.
    let root = f.store_root().to_owned();
    fs::rename(root.join("trip/a.jpg"), root.join("b.jpg")).unwrap();
    told("trip/a.jpg").await;
    assert!(is_missing(&f, &asset).await);
    told("b.jpg").await;
    assert_eq!(f.asset().await.key, "b.jpg");
    assert!(!is_missing(&f, &asset).await);
    fs::copy(root.join("b.jpg"), root.join("c.jpg")).unwrap();
    told("c.jpg").await;
    fs::remove_file(root.join("b.jpg")).unwrap();
    told("b.jpg").await;
    assert_eq!(f.asset().await.key, "c.jpg");
}

#[tokio::test]
async fn a_bucket_that_others_write_to_is_followed() {
    let weed = Weed::start().await;
    let store = S3Store::new(&weed.config());
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::with_store(dir, BlobStore::S3(store)).await;
    // A folder beside files whose names begin like it: stores differ in how they order these.
    for (n, name) in ["a/1.jpg", "a.jpg", "a/2.jpg", "a-b.jpg", "b/c/d.jpg"].iter().enumerate() {
        put(&f, name, media::jpeg(40 + n as u32, 30)).await;
    }
    let first = look(&f).await;
    assert_eq!((first.registered, first.failed, first.missing), (5, 0, 0), "{first:?}");
    let quiet = look(&f).await;
    assert!(!quiet.is_change() && quiet.already_there == 5, "{quiet:?}");

    // Moved, replaced, removed, added.
    put(&f, "moved/one.jpg", media::jpeg(40, 30)).await;
    f.store.delete(&key("a/1.jpg")).await.unwrap();
    put(&f, "a.jpg", media::jpeg(60, 30)).await;
    f.store.delete(&key("b/c/d.jpg")).await.unwrap();
    put(&f, "new.jpg", media::jpeg(61, 30)).await;
    let changed = look(&f).await;
    assert_eq!(
        (changed.registered, changed.moved, changed.missing, changed.failed),
        (2, 1, 1, 0),
        "{changed:?}"
    );
    assert_eq!(asset_named(&f, "1.jpg").await.key, "moved/one.jpg");
    assert!(is_missing(&f, &asset_named(&f, "d.jpg").await).await);
    let quiet = look(&f).await;
    assert!(!quiet.is_change(), "{quiet:?}");
}
