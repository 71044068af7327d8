//! A change is told after it can be read, in this process and in others on the same database.

use std::{sync::Arc, time::Duration};

use catalog::{Catalog, NewAsset, Tag};
use domain::{AssetFilter, AssetId};
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
