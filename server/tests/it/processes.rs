//! Several processes on one catalog: what one changes, the others' kept pages show.

use std::time::Duration;

use crate::{
    database::Database,
    program::{Installation, Server, write_picture},
};

const LIST: &str = "/assets?limit=100";
/// A change that shows within this was told of: a kept page is old by itself only after 60 s.
const TOLD: Duration = Duration::from_secs(20);

/// Jobs would change assets behind the test's back.
const NO_JOBS: &str = "[jobs]\nparallel = 0\nproxies = 0\n";

/// The only asset's id.
async fn only_asset(server: &Server) -> String {
    let list = server.send("GET", "/api/assets", "").await.json().await;
    list["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn label(server: &Server, id: &str, label: &str) {
    let body = format!(r#"{{"labels": ["{label}"]}}"#);
    assert_eq!(server.send("PATCH", &format!("/api/assets/{id}"), &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_made_through_one_server_shows_on_the_others_kept_pages() {
    let (installation, db) = (Installation::new(), Database::postgres());
    let toml =
        format!("[catalog]\nurl = \"{}\"\n[store]\nroot = \"blobs\"\n{NO_JOBS}", db.postgres_url());
    installation.configure("one", &toml);
    installation.configure("two", &toml);
    write_picture(&installation.dir.path().join("in"), "dot.png", 1);
    installation.run("one", &["import", "in"]);

    let (one, two) = (installation.serve("one"), installation.serve("two"));
    let id = only_asset(&one).await;
    let page = format!("/assets/{id}");
    for number in 0..5 {
        let word = format!("changed{number}");
        for server in [&one, &two] {
            server.keep(LIST).await;
            server.keep(&page).await;
        }
        label(&one, &id, &word).await;
        let on_page = two.time_until(&page, &word).await;
        let on_list = two.time_until(LIST, &word).await;
        println!(
            "shown on the other's asset page after {on_page:?}, on its list {on_list:?} later"
        );
        assert!(on_page + on_list < TOLD, "{on_page:?} {on_list:?}");
    }

    // Pages that outlive their server are not taken for what is in the catalog now.
    two.stop();
    let two = installation.serve("two");
    assert_eq!(two.page(&page).await.0, "STALE", "it is from before");
    two.keep(&page).await;
    two.kill();
    label(&one, &id, "meanwhile").await;
    let two = installation.serve("two");
    for path in [page.as_str(), LIST] {
        let shown = two.time_until(path, "meanwhile").await;
        println!("shown {shown:?} after the first look at a server that was away");
        assert!(shown < TOLD, "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_import_beside_a_server_brings_in_shows_on_sqlite() {
    let installation = Installation::new();
    installation.configure("data", NO_JOBS);
    write_picture(&installation.dir.path().join("in"), "first.png", 1);
    installation.run("data", &["import", "in"]);
    let server = installation.serve("data");
    let id = only_asset(&server).await;
    let page = format!("/assets/{id}");
    for number in 2..5 {
        assert!(server.keep(LIST).await.contains("first.png"));
        server.keep(&page).await;
        let name = format!("beside{number}.png");
        write_picture(&installation.dir.path().join("in"), &name, number);
        installation.run("data", &["import", "in"]);
        let shown = server.time_until(LIST, &name).await;
        println!("shown {shown:?} after the import had ended");
        assert!(shown < TOLD, "{shown:?}");
        assert_eq!(server.page(&page).await.0, "HIT", "what did not change is still kept");
    }
    // Its own changes are told at once, and only once.
    label(&server, &id, "own").await;
    let (x_cache, text) = server.page(LIST).await;
    assert_eq!(x_cache, "REVALIDATED");
    assert!(text.contains("own"));
    // SQLite's table of changes is read once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.page(LIST).await.0, "HIT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_were_kept_of_one_catalog_are_not_shown_of_another() {
    let installation = Installation::new();
    let alone = format!("{NO_JOBS}[store]\nscan_interval_secs = 0\n");
    installation.configure("data", &alone);
    write_picture(&installation.dir.path().join("in"), "first.png", 1);
    installation.run("data", &["import", "in"]);
    let server = installation.serve("data");
    assert!(server.keep(LIST).await.contains("first.png"));
    server.stop();
    let server = installation.serve("data");
    assert_eq!(server.page(LIST).await.0, "STALE", "it is kept of the same one");
    server.stop();

    let other = installation.dir.path().join("other.sqlite");
    let other = format!("[catalog]\nurl = \"sqlite:{}\"\n{alone}", other.display());
    installation.configure("data", &other);
    let server = installation.serve("data");
    let (x_cache, text) = server.page(LIST).await;
    assert_eq!(x_cache, "MISS");
    assert!(!text.contains("first.png"));
}
