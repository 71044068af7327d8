use bytes::Bytes;
use catalog::{BlobKey, scan_store};

use crate::{fixture::Fixture, media};

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

async fn put(f: &Fixture, key_text: &str, bytes: Vec<u8>) {
    f.store.put_bytes(&key(key_text), Bytes::from(bytes), "image/jpeg").await.unwrap();
}

#[tokio::test]
async fn scan_finds_what_others_put_into_the_store() {
    let f = Fixture::new().await;
    put(&f, "trip/day 1/a.jpg", media::jpeg(40, 30)).await;
    put(&f, "top.jpg", media::jpeg(41, 30)).await;
    put(&f, "trip/copy-of-a.jpg", media::jpeg(40, 30)).await;
    put(&f, "trip/note.txt", b"hello".to_vec()).await;
    f.write("imported.jpg", &media::jpeg(42, 30));
    f.import().await;

    // On a task of its own, as a server does it.
    let (catalog, store) = (f.catalog.clone(), f.store.clone());
    let scan = tokio::spawn(async move { scan_store(&catalog, &store).await });
    let summary = scan.await.unwrap().unwrap();
    assert_eq!((summary.registered, summary.already_there, summary.skipped), (2, 1, 1));
    assert!(summary.failed.is_empty());
    let assets = f.assets().await;
    assert_eq!(assets.len(), 3);
    let found = assets.iter().find(|asset| asset.name == "a.jpg" || asset.name == "copy-of-a.jpg");
    let found = found.unwrap();
    assert_eq!(found.folder, key(&found.key).folder());
    assert!(assets.iter().any(|asset| asset.key == "top.jpg" && asset.folder.is_empty()));

    let again = scan_store(&f.catalog, &f.store).await.unwrap();
    assert_eq!((again.registered, again.already_there, again.skipped), (0, 4, 0));
    assert_eq!(f.assets().await, assets);
}

#[tokio::test]
async fn scan_notices_an_object_that_was_replaced() {
    let f = Fixture::new().await;
    put(&f, "a.jpg", media::jpeg(40, 30)).await;
    scan_store(&f.catalog, &f.store).await.unwrap();
    let before = f.asset().await;

    put(&f, "a.jpg", media::jpeg(44, 30)).await;
    let summary = scan_store(&f.catalog, &f.store).await.unwrap();
    assert_eq!(summary.registered, 1);
    let after = f.asset().await;
    assert_ne!(before.id, after.id);
    assert_eq!(before.key, after.key);
}
