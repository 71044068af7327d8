//! Writers of one PostgreSQL that are after the same assets at once.

use std::{collections::BTreeSet, time::Duration};

use catalog::{Added, BlobKey, Catalog, CatalogError, NewAsset, keys};
use domain::{AssetFilter, AssetId, AssetQuery, CollectionId, FolderPath, Label};
use jiff::Timestamp;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;

use crate::{database::Database, library::until_waiting};

const ASSETS: u8 = 60;
const ROUNDS: usize = 12;

fn id(n: u8) -> AssetId {
    AssetId::from_digest([n; 32])
}

/// In the order of their numbers, or the other way round.
fn ids(of: impl DoubleEndedIterator<Item = u8>, is_reversed: bool) -> Vec<AssetId> {
    if is_reversed { of.rev().map(id).collect() } else { of.map(id).collect() }
}

/// One change after another, to sets that the others are changing as well; returns what was purged.
async fn change(
    catalog: Catalog,
    collection: CollectionId,
    writer: usize,
) -> Result<Vec<BlobKey>, CatalogError> {
    let label: Label = "shared".parse().unwrap();
    let folder: FolderPath = format!("folder {}", writer % 3).parse().unwrap();
    let is_reversed = writer % 2 == 1;
    let mut purged = Vec::new();
    for round in 0..ROUNDS {
        let all = ids(1..=ASSETS, is_reversed);
        // Two thirds are put into the trash and taken out again; of some of these only few come back.
        let few: Vec<AssetId> = all.iter().skip(round % 3).step_by(3).cloned().collect();
        match (writer + round) % 8 {
            0 => drop(catalog.add_labels(&all, std::slice::from_ref(&label)).await?),
            1 => drop(catalog.remove_labels(&all, std::slice::from_ref(&label)).await?),
            2 => drop(catalog.move_assets(&all, &folder).await?),
            3 => {
                // The last go into the trash first.
                for id in ids(1..=ASSETS / 2, true) {
                    catalog.trash(&[id]).await?;
                }
            }
            4 => drop(catalog.restore(&few).await?),
            5 => purged.extend(catalog.purge(Timestamp::MAX).await?),
            6 => drop(catalog.retry_failed_jobs().await?),
            _ => {
                catalog.add_to_collection(collection, &all).await?;
                catalog.remove_from_collection(collection, &few).await?;
                purged.extend(catalog.purge_asset(&id(1 + round as u8)).await?);
            }
        }
    }
    Ok(purged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_the_same_assets_all_succeed_and_nothing_is_lost() {
    let db = Database::postgres();
    let catalogs = [db.open().await, db.open().await];
    let [catalog, _] = &catalogs;
    for n in 1..=ASSETS {
        let new = NewAsset::new(id(n), &format!("{n}.jpg"), 1, "image/jpeg");
        assert_eq!(catalog.add_asset(&new).await.unwrap(), Added::New);
    }
    let mut connection = sqlx::PgConnection::connect(&db.postgres_url()).await.unwrap();
    connection.execute("UPDATE jobs SET state = 'failed'").await.unwrap();
    let collection = catalog.create_collection(&"Together".parse().unwrap()).await.unwrap().id;

    let mut writers = JoinSet::new();
    for writer in 0..16 {
        writers.spawn(change(catalogs[writer % 2].clone(), collection, writer));
    }
    let ended = tokio::time::timeout(Duration::from_secs(120), writers.join_all()).await.unwrap();
    let purged: Vec<BlobKey> =
        ended.into_iter().flat_map(|purged| purged.expect("no writer is refused")).collect();

    let gone: BTreeSet<&str> = purged.iter().map(BlobKey::as_str).collect();
    assert_eq!(gone.len(), purged.len(), "nothing is purged twice");
    let everything = [AssetQuery::parse("limit=100"), AssetQuery::parse("trashed=1&limit=100")];
    let mut left = BTreeSet::new();
    for query in everything {
        for asset in catalog.list_assets(&query.unwrap()).await.unwrap().items {
            assert!(left.insert(asset.key), "listed once");
        }
    }
    for n in 1..=ASSETS {
        let key = keys::original(&id(n));
        let (is_gone, is_left) = (gone.contains(key.as_str()), left.contains(key.as_str()));
        assert!(is_gone != is_left, "asset {n}: purged {is_gone}, there {is_left}");
    }
    let labelled = AssetFilter::parse("tag=shared").unwrap();
    let all = ids(1..=ASSETS, false);
    catalog.restore(&all).await.unwrap();
    let bear = catalog.add_labels(&all, &["shared".parse().unwrap()]).await.unwrap();
    assert_eq!(catalog.count_assets(&labelled).await.unwrap(), bear);
    assert_eq!(bear, left.len() as u64);
}

/// A row that hangs on an asset may be locked before the asset, by whoever knows no better.
#[tokio::test]
async fn a_purge_that_postgresql_undoes_for_another_is_done_again() {
    let db = Database::postgres();
    let catalog = db.open().await;
    catalog.add_asset(&NewAsset::new(id(1), "1.jpg", 1, "image/jpeg")).await.unwrap();
    catalog.trash(&[id(1)]).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&db.postgres_url()).await.unwrap();
    let mut writes = other.begin().await.unwrap();
    // Of the two the purge is the one that looks for a way out.
    writes.execute("SET LOCAL deadlock_timeout = '1min'").await.unwrap();
    writes.execute("UPDATE jobs SET reason = 'held'").await.unwrap();
    let purge = tokio::spawn(async move { catalog.purge(Timestamp::MAX).await });
    until_waiting(&db, 1).await;
    writes.execute("SELECT seq FROM assets FOR KEY SHARE").await.unwrap();
    writes.commit().await.unwrap();
    assert_eq!(purge.await.unwrap().unwrap(), [keys::original(&id(1))]);
}

#[tokio::test]
async fn an_asset_that_takes_anothers_place_is_locked_with_it_in_everyones_order() {
    let db = Database::postgres();
    let catalog = db.open().await;
    for n in [1, 2] {
        let new = NewAsset::new(id(n), &format!("{n}.jpg"), 1, "image/jpeg");
        catalog.add_asset(&new).await.unwrap();
    }
    let mut other = sqlx::PgConnection::connect(&db.postgres_url()).await.unwrap();
    let mut writes = other.begin().await.unwrap();
    let lock = |n| {
        let sql = format!("SELECT seq FROM assets WHERE id = '{}' FOR NO KEY UPDATE", id(n));
        sqlx::AssertSqlSafe(sql)
    };
    // Of the two the other one is not to look for a way out.
    writes.execute("SET LOCAL deadlock_timeout = '1min'").await.unwrap();
    writes.execute(lock(1)).await.unwrap();
    // The bytes of the first, where the second lies.
    let new =
        NewAsset { key: keys::original(&id(2)), ..NewAsset::new(id(1), "2.jpg", 1, "image/jpeg") };
    let added = tokio::spawn(async move { catalog.add_asset(&new).await });
    until_waiting(&db, 1).await;
    writes.execute(lock(2)).await.unwrap();
    writes.commit().await.unwrap();
    assert_eq!(added.await.unwrap().unwrap(), Added::Known);
}
