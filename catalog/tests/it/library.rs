//! What the explorer asks of a catalog: filters, orders, pages, folders, labels, the trash.

use catalog::{Added, Catalog, FinishedRecording, Measures, NewAsset, NewRecording, keys};
use domain::{AssetFilter, AssetId, AssetPatch, AssetQuery, FolderPath, Label, Sort};
use jiff::Timestamp;
use sqlx::{Connection as _, Executor as _};

use crate::{
    database::{Database, on_both},
    fixture::execute,
    uploads::for_polls,
};

const DAY_MS: i64 = 86_400_000;

fn id(n: u8) -> AssetId {
    AssetId::from_digest([n; 32])
}

async fn add(catalog: &Catalog, n: u8, path: &str, mime: &str, created_ms: i64) -> AssetId {
    let id = id(n);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut new = NewAsset::new(id.clone(), name, u64::from(n) * 1000, mime);
    new.folder = folder.into();
    new.created_at = Timestamp::from_millisecond(created_ms).unwrap();
    assert_eq!(catalog.add_asset(&new).await.unwrap(), Added::New);
    id
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn folder(text: &str) -> FolderPath {
    text.parse().unwrap()
}

/// Of the camera `yard`, to an object of that key.
pub fn recording(key: &str) -> NewRecording {
    NewRecording {
        camera: "yard".parse().unwrap(),
        key: key.parse().unwrap(),
        name: "yard.mp4".parse().unwrap(),
        folder: folder("recordings/yard"),
        mime: "video/mp4".into(),
        started_at: Timestamp::from_millisecond(90 * DAY_MS).unwrap(),
        measures: Measures {
            size_px: Some((1280, 720)),
            duration_ms: None,
            codec: Some("h264".into()),
            thumbhash: None,
        },
    }
}

/// A small library: pictures, videos and a sound on some days.
async fn library(db: &Database) -> Catalog {
    let catalog = db.open().await;
    add(&catalog, 1, "2026/harbour/IMG_0001.jpg", "image/jpeg", DAY_MS).await;
    add(&catalog, 2, "2026/harbour/IMG_0002.jpg", "image/jpeg", DAY_MS + 5).await;
    add(&catalog, 3, "2026/take one.mp4", "video/mp4", 2 * DAY_MS).await;
    add(&catalog, 4, "2026-old/Take Two.mp4", "video/mp4", 40 * DAY_MS).await;
    add(&catalog, 5, "sounds/Gull.ogg", "audio/ogg", -1).await;
    catalog.add_labels(&[id(1), id(3)], &[label("sea"), label("Best of")]).await.unwrap();
    catalog.add_labels(&[id(5)], &[label("sea")]).await.unwrap();
    catalog
}

/// Which assets a query finds, by their first byte.
async fn found(catalog: &Catalog, query: &str) -> Vec<u8> {
    let query = AssetQuery::parse(query).unwrap();
    let page = catalog.list_assets(&query).await.unwrap();
    let found: Vec<u8> = page
        .items
        .iter()
        .map(|asset| u8::from_str_radix(&asset.id.hex()[..2], 16).unwrap())
        .collect();
    let count = catalog.count_assets(&query.filter).await.unwrap();
    if page.next_cursor.is_none() && query.after.is_none() {
        assert_eq!(count, found.len() as u64, "{}", query.to_query());
        let buckets = catalog.buckets(&query.filter).await.unwrap();
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), count);
    }
    found
}

on_both! {
    async fn a_write_that_was_given_up_takes_none_of_the_next_with_it(db: Database) {
        let (here, there) = (db.open().await, db.open().await);
        let title = "Best".parse().unwrap();
        for polls in 1.. {
            // As when a client leaves in the middle of a request.
            let was_done = for_polls(polls, here.create_collection(&title)).await;
            let kept = here.create_collection(&title).await.unwrap();
            assert!(there.collections().await.unwrap().contains(&kept), "after {polls} polls");
            if was_done {
                break;
            }
        }
    }

    async fn every_filter_finds_what_it_names(db: Database) {
        let catalog = library(&db).await;
        for (query, expected) in [
            ("", vec![4, 3, 2, 1, 5]),
            ("kind=video", vec![4, 3]),
            ("kind=audio&kind=video", vec![4, 3, 5]),
            ("tag=sea", vec![3, 1, 5]),
            ("tag=sea&tag=Best+of&kind=image", vec![1]),
            ("folder=2026", vec![3, 2, 1]),
            ("folder=2026/harbour&folder=sounds", vec![2, 1, 5]),
            ("folder=nowhere", vec![]),
            ("from=1970-01-02&to=1970-01-02", vec![2, 1]),
            ("to=1969-12-31", vec![5]),
            ("from=1970-01-03", vec![4, 3]),
            ("min_size=2000&max_size=3000", vec![3, 2]),
            ("q=img", vec![2, 1]),
            ("q=harb+0002", vec![2]),
            ("q=TAKE", vec![4, 3]),
            ("q=best", vec![3, 1]),
            ("q=gull&kind=image", vec![]),
            ("q=%27%22%3B--", vec![4, 3, 2, 1, 5]),
            ("q=image", vec![]),
            ("codec=h264", vec![]),
            ("failed=1", vec![]),
            ("trashed=1", vec![]),
            ("collection=1", vec![]),
        ] {
            assert_eq!(found(&catalog, query).await, expected, "{query}");
        }
    }

    async fn every_order_is_walked_page_by_page(db: Database) {
        let catalog = library(&db).await;
        for (sort, expected) in [
            ("newest", [4, 3, 2, 1, 5]),
            ("oldest", [5, 1, 2, 3, 4]),
            ("name", [5, 1, 2, 3, 4]),
            ("largest", [5, 4, 3, 2, 1]),
            // None is known; the number decides.
            ("longest", [5, 4, 3, 2, 1]),
        ] {
            for filter in ["", "&q=&folder=2026&folder=2026-old&folder=sounds"] {
                let mut query = AssetQuery::parse(&format!("limit=2&sort={sort}{filter}")).unwrap();
                let mut walked = Vec::new();
                loop {
                    let page = catalog.list_assets(&query).await.unwrap();
                    walked.extend(page.items.into_iter().map(|asset| asset.id));
                    let Some(next) = page.next_cursor else { break };
                    assert_eq!(next.sort, sort.parse::<Sort>().unwrap());
                    query = AssetQuery::parse(&query.after(next).to_query()).unwrap();
                }
                assert_eq!(walked, expected.map(id), "{sort}{filter}");
            }
        }
    }

    async fn days_are_counted_and_a_long_time_by_months(db: Database) {
        let catalog = library(&db).await;
        let text = async |query: &str| -> Vec<String> {
            let filter = AssetFilter::parse(query).unwrap();
            let buckets = catalog.buckets(&filter).await.unwrap();
            buckets.iter().map(|b| format!("{}..{} {}", b.from, b.to, b.count)).collect()
        };
        assert_eq!(text("").await, [
            "1970-02-10..1970-02-10 1",
            "1970-01-03..1970-01-03 1",
            "1970-01-02..1970-01-02 2",
            "1969-12-31..1969-12-31 1",
        ]);
        add(&catalog, 6, "late.jpg", "image/jpeg", 500 * DAY_MS).await;
        assert_eq!(text("kind=image").await, ["1971-05-01..1971-05-31 1", "1970-01-01..1970-01-31 2"]);
        assert!(text("kind=other").await.is_empty());
    }

    async fn days_are_counted_of_cameras_whose_clock_was_never_set(db: Database) {
        let catalog = db.open().await;
        for n in 1..4 {
            add(&catalog, n, &format!("{n}.jpg"), "image/jpeg", i64::from(n / 2) * DAY_MS).await;
        }
        let buckets = catalog.buckets(&AssetFilter::default()).await.unwrap();
        let text: Vec<_> = buckets.iter().map(|b| format!("{} {}", b.from, b.count)).collect();
        assert_eq!(text, ["1970-01-02 2", "1970-01-01 1"]);
    }

    async fn folders_say_what_is_in_them_and_below(db: Database) {
        let catalog = library(&db).await;
        let text = async |path: &str| -> Vec<String> {
            let folders = catalog.folders(&folder(path)).await.unwrap();
            folders.iter().map(|f| format!("{} {}+{}", f.path, f.assets, f.below)).collect()
        };
        assert_eq!(text("").await, ["2026 1+2", "2026-old 1+0", "sounds 1+0"]);
        assert_eq!(text("2026").await, ["2026/harbour 2+0"]);
        assert!(text("2026/harbour").await.is_empty());
        catalog.trash(&[id(5)]).await.unwrap();
        assert_eq!(text("").await, ["2026 1+2", "2026-old 1+0"]);
    }

    async fn what_is_renamed_moved_or_labelled_is_found_by_it(db: Database) {
        let catalog = library(&db).await;
        let patch = AssetPatch {
            name: Some("Lighthouse.jpg".parse().unwrap()),
            folder: Some(folder("2026/coast")),
            labels: Some(vec![label("Night")]),
        };
        let asset = catalog.update_asset(&id(1), &patch).await.unwrap().unwrap();
        assert_eq!((asset.name.as_str(), asset.folder.as_str()), ("Lighthouse.jpg", "2026/coast"));
        assert_eq!(asset.labels, ["Night"]);
        assert_eq!(found(&catalog, "q=light+coast+night").await, [1]);
        assert!(found(&catalog, "q=0001").await.is_empty());
        assert_eq!(found(&catalog, "sort=name&folder=2026").await, [2, 1, 3]);

        assert_eq!(catalog.move_assets(&[id(2), id(4), id(99)], &folder("")).await.unwrap(), 2);
        assert_eq!(catalog.asset(&id(4)).await.unwrap().unwrap().folder, "");
        catalog.remove_labels(&[id(1), id(3)], &[label("sea"), label("Night")]).await.unwrap();
        let tags = catalog.tags().await.unwrap();
        let tags: Vec<_> = tags.iter().map(|tag| (tag.tag.as_str(), tag.assets)).collect();
        assert_eq!(tags, [("Best of", 1), ("sea", 1)]);
        assert_eq!(catalog.update_asset(&id(99), &patch).await.unwrap(), None);
    }

    async fn trash_is_emptied_only_of_what_lay_there_long_enough(db: Database) {
        let catalog = library(&db).await;
        catalog.trash(&[id(1)]).await.unwrap();
        let together = catalog.trash(&[id(1), id(2), id(3)]).await.unwrap();
        assert_eq!(found(&catalog, "").await, [4, 5]);
        assert_eq!(found(&catalog, "trashed=1&sort=oldest").await, [1, 2, 3]);
        assert_eq!(found(&catalog, "trashed=1&q=img").await, [2, 1]);
        assert!(catalog.asset(&id(1)).await.unwrap().unwrap().trashed_at.is_some());
        assert_eq!(catalog.tags().await.unwrap().len(), 1);

        assert_eq!(catalog.undo_trash(together).await.unwrap(), 2, "the first was there before");
        assert_eq!(found(&catalog, "").await, [4, 3, 2, 5]);
        assert!(catalog.purge(Timestamp::UNIX_EPOCH).await.unwrap().is_empty());
        let freed = catalog.purge(Timestamp::MAX).await.unwrap();
        assert_eq!(freed, [keys::original(&id(1))]);
        assert_eq!(catalog.asset(&id(1)).await.unwrap(), None);
        // Nothing of it is left to be in the way.
        add(&catalog, 1, "again.jpg", "image/jpeg", 0).await;
        assert!(found(&catalog, "q=harbour").await == [2]);
    }

    async fn one_asset_is_purged_if_it_is_in_the_trash(db: Database) {
        let catalog = library(&db).await;
        assert!(catalog.purge_asset(&id(2)).await.unwrap().is_empty());
        catalog.trash(&[id(1), id(2)]).await.unwrap();
        assert_eq!(catalog.purge_asset(&id(2)).await.unwrap(), [keys::original(&id(2))]);
        assert!(catalog.purge_asset(&id(2)).await.unwrap().is_empty());
        assert_eq!(catalog.asset(&id(2)).await.unwrap(), None);
        assert_eq!(found(&catalog, "trashed=1").await, [1]);
    }

    async fn collections_hold_assets_and_filters_are_kept(db: Database) {
        let catalog = library(&db).await;
        let made = catalog.create_collection(&"Show reel".parse().unwrap()).await.unwrap();
        let added = catalog.add_to_collection(made.id, &[id(1), id(3), id(1)]).await.unwrap();
        assert_eq!(added, Some(2));
        assert_eq!(found(&catalog, &format!("collection={}", made.id)).await, [3, 1]);
        catalog.remove_from_collection(made.id, &[id(1)]).await.unwrap();
        assert!(catalog.rename_collection(made.id, &"Reel".parse().unwrap()).await.unwrap());
        let listed = catalog.collections().await.unwrap();
        assert_eq!((listed[0].title.as_str(), listed[0].assets), ("Reel", 1));
        catalog.trash(&[id(3)]).await.unwrap();
        assert_eq!(catalog.collections().await.unwrap()[0].assets, 0);
        assert!(catalog.delete_collection(made.id).await.unwrap());
        assert!(!catalog.delete_collection(made.id).await.unwrap());
        assert_eq!(catalog.add_to_collection(made.id, &[id(1)]).await.unwrap(), None);

        let filter = AssetFilter::parse("kind=video&q=take").unwrap();
        let saved = catalog.save_filter(&"Takes".parse().unwrap(), &filter).await.unwrap();
        assert_eq!(catalog.saved_filters().await.unwrap(), std::slice::from_ref(&saved));
        assert_eq!(saved.filter(), Some(filter));
        assert!(catalog.delete_filter(saved.id).await.unwrap());
        assert!(catalog.saved_filters().await.unwrap().is_empty());
    }

    async fn a_recording_is_an_asset_before_its_bytes_are_all_there(db: Database) {
        let catalog = library(&db).await;
        let new = recording("recordings/yard/1.mp4");
        let provisional = catalog.begin_recording(&new).await.unwrap();
        assert_eq!(catalog.begin_recording(&new).await.unwrap(), provisional);
        assert!(catalog.grow_recording(&provisional, 5_000_000, 60_000).await.unwrap());
        let asset = catalog.asset(&provisional).await.unwrap().unwrap();
        assert!(asset.recording && asset.size_bytes == 5_000_000);
        assert_eq!(catalog.recordings_under_way().await.unwrap(), [asset]);
        let query = AssetQuery::parse("camera=yard&codec=h264&min_height=720&min_duration=60000").unwrap();
        assert_eq!(catalog.list_assets(&query).await.unwrap().items[0].id, provisional);

        let finished = FinishedRecording {
            id: id(77),
            key: keys::original(&id(77)),
            size_bytes: 6_000_000,
            duration_ms: 61_000,
        };
        // Whatever hangs on its provisional id is not in the way.
        execute(
            &db,
            "INSERT INTO jobs (asset_id, kind, state, attempts, not_before_ms, queued_ms) \
             SELECT id, 'derive', 'pending', 0, 0, 0 FROM assets WHERE recording = 1",
        )
        .await;
        assert!(catalog.finish_recording(&provisional, &finished).await.unwrap());
        assert!(!catalog.grow_recording(&provisional, 1, 1).await.unwrap());
        let asset = catalog.asset(&provisional).await.unwrap().unwrap();
        assert_eq!((asset.id, asset.recording, asset.duration_ms), (id(77), false, Some(61_000)));
        assert_eq!(found(&catalog, "camera=yard&max_duration=61000").await, [77]);
        // A page that was opened while it was written goes on working.
        let keep = "keep".parse().unwrap();
        assert_eq!(catalog.add_labels(std::slice::from_ref(&provisional), &[keep]).await.unwrap(), 1);
        assert_eq!(found(&catalog, "tag=keep").await, [77]);
        let name = "gate.mp4".parse().unwrap();
        let patch = AssetPatch { name: Some(name), ..AssetPatch::default() };
        let renamed = catalog.update_asset(&provisional, &patch).await.unwrap().unwrap();
        assert_eq!((renamed.id, renamed.name.as_str()), (id(77), "gate.mp4"));
        let facets = catalog.facets().await.unwrap();
        assert_eq!((facets.cameras, facets.codecs), (vec!["yard".into()], vec!["h264".into()]));

        let second = recording("recordings/yard/2.mp4");
        let same = catalog.begin_recording(&second).await.unwrap();
        assert!(catalog.finish_recording(&same, &finished).await.unwrap());
        assert_eq!(catalog.asset(&same).await.unwrap().unwrap().id, id(77), "same bytes, one asset");
        let third = recording("recordings/yard/3.mp4");
        let lost = catalog.begin_recording(&third).await.unwrap();
        assert!(catalog.abandon_recording(&lost).await.unwrap());
        assert_eq!(catalog.asset(&lost).await.unwrap(), None);
    }
}

/// A transaction on the way that takes an asset out of the trash is waited for.
#[tokio::test]
async fn what_is_restored_while_the_trash_is_emptied_stays_and_what_is_purged_is_not_restored() {
    let db = Database::postgres();
    let catalog = library(&db).await;
    catalog.trash(&[id(1), id(2), id(3)]).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&db.postgres_url()).await.unwrap();
    let mut restores = other.begin().await.unwrap();
    let restore = sqlx::AssertSqlSafe(format!(
        "UPDATE assets SET trashed_us = NULL WHERE id IN ('{}', '{}')",
        id(1),
        id(2)
    ));
    restores.execute(restore).await.unwrap();
    let all = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.purge(Timestamp::MAX).await.unwrap() }
    });
    until_waiting(&db, 1).await;
    let one = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.purge_asset(&id(2)).await.unwrap() }
    });
    until_waiting(&db, 2).await;
    restores.commit().await.unwrap();
    assert_eq!(all.await.unwrap(), [keys::original(&id(3))]);
    assert!(one.await.unwrap().is_empty());
    assert_eq!(found(&catalog, "").await, [4, 2, 1, 5]);

    catalog.trash(&[id(1)]).await.unwrap();
    let mut purges = other.begin().await.unwrap();
    let purge = sqlx::AssertSqlSafe(format!("DELETE FROM assets WHERE id = '{}'", id(1)));
    purges.execute(purge).await.unwrap();
    let restored = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.restore(&[id(1), id(2)]).await.unwrap() }
    });
    until_waiting(&db, 1).await;
    purges.commit().await.unwrap();
    assert_eq!(restored.await.unwrap(), 1, "only what there is");
}

/// Until so many statements wait for a lock; nothing tells of that.
pub async fn until_waiting(db: &Database, count: i64) {
    let mut connection = sqlx::PgConnection::connect(&db.postgres_url()).await.unwrap();
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..1000 {
        let (now,): (i64,) = sqlx::query_as(waiting).fetch_one(&mut connection).await.unwrap();
        if now >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing waits");
}
