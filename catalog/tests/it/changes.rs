//! A change is told after it can be read, in this process and in others on the same database.

use std::{sync::Arc, time::Duration};

use catalog::{Catalog, FinishedRecording, Measures, NewAsset, NewRecording, Tag, keys};
use domain::{AssetFilter, AssetId, AssetPatch, FolderPath, JobKind, Label, Title};
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, UnixStream},
    sync::broadcast::Receiver,
};

use crate::{
    database::{Database, on_both},
    uploads::for_polls,
};

async fn add(catalog: &Catalog, n: u8) -> AssetId {
    let id = AssetId::from_digest([n; 32]);
    catalog.add_asset(&NewAsset::new(id.clone(), "a.jpg", 1, "image/jpeg")).await.unwrap();
    id
}

async fn next(changes: &mut Receiver<Arc<[Tag]>>) -> Vec<Tag> {
    let tags = tokio::time::timeout(Duration::from_secs(10), changes.recv()).await;
    tags.expect("a change is told").unwrap().to_vec()
}

on_both! {
    async fn a_change_is_told_once_and_names_what_it_touches(db: Database) {
        let catalog = db.open().await;
        let mut changes = catalog.changes();
        let id = add(&catalog, 1).await;
        let tags = next(&mut changes).await;
        for tag in [Tag::Asset(id.clone()), Tag::Assets, Tag::Folders, Tag::Jobs] {
            assert!(tags.contains(&tag), "{tag} is not in {tags:?}");
        }
        // The same bytes again change nothing.
        add(&catalog, 1).await;
        catalog.add_labels(std::slice::from_ref(&id), &["x".parse().unwrap()]).await.unwrap();
        assert_eq!(next(&mut changes).await, [Tag::Asset(id), Tag::Assets, Tag::Tags]);
        assert!(changes.try_recv().is_err(), "its own word does not come back to it");
    }

    async fn every_write_is_told_with_what_it_touches(db: Database) {
        let catalog = db.open().await;
        let mut changes = catalog.changes();
        let (id, title) = (AssetId::from_digest([1; 32]), "x".parse::<Title>().unwrap());
        let new = NewAsset::new(id.clone(), "a.jpg", 1, "image/jpeg");
        let (label, folder) = ("x".parse::<Label>().unwrap(), "x".parse::<FolderPath>().unwrap());
        let (ids, labels) = (std::slice::from_ref(&id), std::slice::from_ref(&label));
        let new_recording = |n: u8| NewRecording {
            camera: "yard".parse().unwrap(),
            key: format!("recordings/{n}.mp4").parse().unwrap(),
            name: "yard.mp4".parse().unwrap(),
            folder: folder.clone(),
            mime: "video/mp4".into(),
            started_at: Timestamp::UNIX_EPOCH,
            measures: Measures::default(),
        };
        let whole = AssetId::from_digest([2; 32]);
        let finished = FinishedRecording {
            id: whole.clone(),
            key: keys::original(&whole),
            size_bytes: 1,
            duration_ms: 1,
        };
        let patch = AssetPatch { labels: Some(Vec::new()), ..AssetPatch::default() };
        /// Does it, and expects one word of it, with at least these tags.
        macro_rules! told {
            ($write:expr => $($tag:expr),+) => {{
                let done = $write.await.unwrap();
                let (what, tags) = (stringify!($write), next(&mut changes).await);
                for tag in [$($tag),+] {
                    assert!(tags.contains(&tag), "{what}: {tag} is not in {tags:?}");
                }
                assert!(changes.try_recv().is_err(), "{what} is told twice");
                done
            }};
        }
        let asset = Tag::Asset(id.clone());
        told!(catalog.add_asset(&new) => asset.clone(), Tag::Assets, Tag::Folders, Tag::Jobs);
        told!(catalog.add_labels(ids, labels) => asset.clone(), Tag::Assets, Tag::Tags);
        told!(catalog.remove_labels(ids, labels) => asset.clone(), Tag::Assets, Tag::Tags);
        told!(catalog.update_asset(&id, &patch) => asset.clone(), Tag::Assets, Tag::Tags);
        told!(catalog.move_assets(ids, &folder) => asset.clone(), Tag::Assets, Tag::Folders);
        let collection = told!(catalog.create_collection(&title) => Tag::Collections).id;
        told!(catalog.rename_collection(collection, &title) => Tag::Collections);
        told!(catalog.add_to_collection(collection, ids) => Tag::Collections);
        told!(catalog.remove_from_collection(collection, ids) => Tag::Collections);
        told!(catalog.delete_collection(collection) => Tag::Collections, Tag::Assets);
        let filter = told!(catalog.save_filter(&title, &AssetFilter::default()) => Tag::Filters);
        told!(catalog.delete_filter(filter.id) => Tag::Filters);
        told!(catalog.retry_job(&id, JobKind::Derive) => asset.clone(), Tag::Assets, Tag::Jobs);
        told!(catalog.retry_failed_jobs() => Tag::Everything);
        macro_rules! gone_or_back {
            ($write:expr) => {
                told!($write => asset.clone(), Tag::Assets, Tag::Folders, Tag::Tags, Tag::Collections)
            };
        }
        let trash_id = gone_or_back!(catalog.trash(ids));
        gone_or_back!(catalog.undo_trash(trash_id));
        gone_or_back!(catalog.trash(ids));
        gone_or_back!(catalog.restore(ids));
        gone_or_back!(catalog.trash(ids));
        gone_or_back!(catalog.purge_asset(&id));
        told!(catalog.add_asset(&new) => asset.clone());
        gone_or_back!(catalog.trash(ids));
        gone_or_back!(catalog.purge(Timestamp::MAX));
        let recording = new_recording(1);
        let recording = told!(catalog.begin_recording(&recording) => Tag::Assets, Tag::Folders);
        let growing = Tag::Asset(recording.clone());
        told!(catalog.grow_recording(&recording, 1, 1) => growing.clone(), Tag::Assets);
        told!(catalog.finish_recording(&recording, &finished)
            => growing, Tag::Asset(whole.clone()), Tag::Assets, Tag::Jobs);
        let recording = new_recording(2);
        let lost = told!(catalog.begin_recording(&recording) => Tag::Assets);
        told!(catalog.abandon_recording(&lost) => Tag::Asset(lost.clone()), Tag::Assets, Tag::Folders);
    }

    async fn another_process_on_the_same_database_hears_of_it(db: Database) {
        let (here, there) = (db.open().await, db.open().await);
        let mut changes = there.changes();
        let id = add(&here, 1).await;
        assert!(next(&mut changes).await.contains(&Tag::Asset(id.clone())));
        assert!(there.asset(&id).await.unwrap().is_some(), "it can be read by then");
        here.close().await;
        there.close().await;
    }

    async fn what_lasts_is_told_even_if_who_asked_for_it_went_away(db: Database) {
        let catalog = db.open().await;
        let mut lasting = 0;
        for polls in 1..1000 {
            let mut changes = catalog.changes();
            let text = polls.to_string();
            let title = text.parse().unwrap();
            let was_done = for_polls(polls, catalog.create_collection(&title)).await;
            // By now it was undone, or it lasts.
            catalog.save_filter(&title, &AssetFilter::default()).await.unwrap();
            let left = catalog.collections().await.unwrap();
            if left.iter().any(|collection| collection.title == text) {
                lasting += 1;
                while !next(&mut changes).await.contains(&Tag::Collections) {}
            }
            if was_done {
                break;
            }
        }
        assert!(lasting > 0);
        catalog.close().await;
    }
}

#[tokio::test]
async fn a_cut_connection_is_told_of_and_made_again() {
    let db = Database::postgres();
    let (here, there) = (db.open().await, db.open().await);
    let mut changes = there.changes();
    db.cut_listeners();
    assert_eq!(next(&mut changes).await, [Tag::Everything]);
    let id = add(&here, 1).await;
    assert!(next(&mut changes).await.contains(&Tag::Asset(id)));
}

#[tokio::test]
async fn a_connection_that_the_network_resets_is_made_again() {
    let db = Database::postgres();
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (socket, url) = db.by_way_of(way.local_addr().unwrap().port());
    let (reset, _) = tokio::sync::broadcast::channel::<()>(1);
    let network = tokio::spawn({
        let reset = reset.clone();
        async move {
            loop {
                let (mut from, _) = way.accept().await.unwrap();
                let mut to = UnixStream::connect(&socket).await.unwrap();
                let mut cut = reset.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        // Not with a word of goodbye.
                        _ = cut.recv() => from.set_zero_linger().unwrap(),
                    }
                });
            }
        }
    });
    let (here, there) = (db.open().await, Catalog::open(&url).await.unwrap());
    let mut changes = there.changes();
    reset.send(()).unwrap();
    assert_eq!(next(&mut changes).await, [Tag::Everything]);
    let id = add(&here, 1).await;
    assert!(next(&mut changes).await.contains(&Tag::Asset(id)));
    network.abort();
}
