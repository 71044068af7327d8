//! Definitions of cameras survive a restart, in a file that only its owner reads.

use std::os::unix::fs::PermissionsExt as _;

use catalog::{Catalog, CatalogUrl, Tag};

use crate::database::{Database, on_both};

on_both! {
    async fn a_cameras_definition_is_kept_changed_and_forgotten(db: Database) {
        let catalog = db.open().await;
        let mut changes = catalog.changes();
        assert!(catalog.add_camera_definition("yard", "{}").await.unwrap());
        assert!(catalog.add_camera_definition("door", r#"{"a":1}"#).await.unwrap());
        assert!(catalog.change_camera_definition("door", r#"{"a":2}"#).await.unwrap());
        for _ in 0..3 {
            assert_eq!(*changes.recv().await.unwrap(), [Tag::Cameras]);
        }
        // What there is is not overwritten, and what there is not is not changed.
        assert!(!catalog.add_camera_definition("door", r#"{"a":3}"#).await.unwrap());
        assert!(!catalog.change_camera_definition("gate", "{}").await.unwrap());
        assert!(changes.try_recv().is_err(), "nothing has changed");
        catalog.close().await;
        let catalog = db.open().await;
        let kept = [("door".to_owned(), r#"{"a":2}"#.to_owned()), ("yard".into(), "{}".into())];
        assert_eq!(catalog.camera_definitions().await.unwrap(), kept);
        assert!(catalog.remove_camera_definition("door").await.unwrap());
        assert!(!catalog.remove_camera_definition("door").await.unwrap());
        assert_eq!(catalog.camera_definitions().await.unwrap(), kept[1..]);
    }
}

#[tokio::test]
async fn the_catalogs_files_are_readable_by_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    // As an older version left it.
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let catalog = Catalog::open(&CatalogUrl::Sqlite(path.clone())).await.unwrap();
    catalog.add_camera_definition("door", "{}").await.unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}
