use catalog::{Added, Catalog, CatalogUrl, NewAsset};
use domain::{AssetId, AssetQuery, PageLimit};
use jiff::Timestamp;

use crate::database::{Database, on_both};

async fn add(catalog: &Catalog, n: u8, created_ms: i64) -> AssetId {
    let id = AssetId::from_digest([n; 32]);
    let mut new = NewAsset::new(id.clone(), &format!("{n}.jpg"), u64::from(n), "image/jpeg");
    new.created_at = Timestamp::from_millisecond(created_ms).unwrap();
    assert_eq!(catalog.add_asset(&new).await.unwrap(), Added::New);
    id
}

/// Visits every page, calling `between` after each, and returns the ids and the number of pages.
async fn walk(
    catalog: &Catalog,
    limit: u32,
    mut between: impl AsyncFnMut(u8),
) -> (Vec<AssetId>, u8) {
    let limit = PageLimit::try_from(limit).unwrap();
    let mut query = AssetQuery { limit, ..AssetQuery::default() };
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = catalog.list_assets(&query).await.unwrap();
        seen.extend(page.items.into_iter().map(|asset| asset.id));
        pages += 1;
        between(pages).await;
        query.after = page.next_cursor;
        if query.after.is_none() {
            return (seen, pages);
        }
    }
}

on_both! {
    async fn paging_visits_every_asset_once_while_new_ones_arrive(db: Database) {
        let catalog = db.open().await;
        let mut expected = Vec::new();
        for n in 0..25u8 {
            // Five share each time, so that ids break ties.
            let created_ms = i64::from(n / 5) * 1000;
            expected.push((created_ms, add(&catalog, n, created_ms).await));
        }
        expected.sort();
        let expected: Vec<AssetId> = expected.into_iter().rev().map(|(_, id)| id).collect();

        let (seen, pages) = walk(&catalog, 5, async |_| {}).await;
        assert_eq!(seen, expected);
        assert_eq!(pages, 5, "a full last page has no next one");

        let arriving = async |page: u8| {
            add(&catalog, 100 + page, 1_000_000 + i64::from(page)).await;
        };
        let (seen, _) = walk(&catalog, 7, arriving).await;
        assert_eq!(seen, expected);
    }

    async fn catalog_keeps_its_assets_when_opened_again(db: Database) {
        let catalog = db.open().await;
        let id = add(&catalog, 1, -5).await;
        catalog.close().await;

        let catalog = db.open().await;
        catalog.ping().await.unwrap();
        let asset = catalog.asset(&id).await.unwrap().unwrap();
        assert_eq!((asset.name.as_str(), asset.size_bytes), ("1.jpg", 1));
        assert_eq!(asset.created_at.as_millisecond(), -5);
        assert_eq!(catalog.counts().await.unwrap().assets, 1);
        assert_eq!(catalog.asset(&AssetId::from_digest([9; 32])).await.unwrap(), None);
    }
}

#[tokio::test]
async fn catalog_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sqlite");
    std::fs::write(&path, "this is not a database, but long enough to look like one".repeat(9))
        .unwrap();
    let error = Catalog::open(&CatalogUrl::Sqlite(path.clone())).await.unwrap_err().to_string();
    assert!(error.contains("c.sqlite"), "{error}");
}
