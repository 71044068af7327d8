use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use catalog::watch::{WatchedFolder, watch};
use domain::Asset;
use tokio_util::sync::CancellationToken;

use crate::{fixture::Fixture, media};

struct Watched {
    f: Fixture,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    async fn start(f: Fixture, settle: Duration) -> Self {
        let token = CancellationToken::new();
        let folder = WatchedFolder {
            path: f.photos(),
            folder: "Incoming".into(),
            settle,
            node: Some("studio".into()),
            exclude: vec![],
        };
        let task = tokio::spawn(watch(f.catalog.clone(), f.store.clone(), folder, token.clone()));
        Self { f, token, task }
    }

    /// Waits until the assets are as said; the catalog tells nobody yet, so it is asked.
    async fn wait(&self, what: &str, is_so: impl Fn(&[Asset]) -> bool) -> Vec<Asset> {
        for _ in 0..600 {
            let assets = self.f.assets().await;
            if is_so(&assets) {
                return assets;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: {:?}", self.f.assets().await);
    }

    async fn stop(self) -> Fixture {
        self.token.cancel();
        self.task.await.unwrap();
        self.f
    }
}

fn names(assets: &[Asset]) -> Vec<String> {
    let mut names: Vec<_> = assets.iter().map(|a| format!("{}/{}", a.folder, a.name)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_watched_folder_takes_files_that_are_whole_and_follows_moved_ones() {
    let f = Fixture::new().await;
    f.write("there-before.jpg", &media::jpeg(40, 30));
    f.write("sub/half.jpg.part", &media::jpeg(50, 30));
    f.write(".hidden.jpg", &media::jpeg(51, 30));
    let w = Watched::start(f, Duration::from_millis(300)).await;
    w.wait("the file that was there", |all| all.len() == 1).await;

    // A folder with a file in it, moved here at once: only the folder is told of.
    let aside = w.f.dir.path().join("aside");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("b.jpg"), media::jpeg(41, 30)).unwrap();
    fs::rename(&aside, w.f.photos().join("day 1")).unwrap();
    let all = w.wait("the file in the new folder", |all| all.len() == 2).await;
    assert_eq!(names(&all), ["Incoming/day 1/b.jpg", "Incoming/there-before.jpg"]);
    assert_eq!(all[0].source_node.as_deref(), Some("studio"));

    let to: PathBuf = w.f.photos().join("day 2/c.jpg");
    fs::create_dir(to.parent().unwrap()).unwrap();
    fs::rename(w.f.photos().join("day 1/b.jpg"), &to).unwrap();
    let all = w.wait("the move", |all| all.iter().any(|a| a.name == "c.jpg")).await;
    assert_eq!(names(&all), ["Incoming/day 2/c.jpg", "Incoming/there-before.jpg"]);

    fs::remove_file(&to).unwrap();
    fs::rename(w.f.photos().join("sub/half.jpg.part"), w.f.photos().join("sub/half.jpg")).unwrap();
    let all = w.wait("the finished download", |all| all.len() == 3).await;
    assert!(all.iter().any(|a| a.name == "c.jpg"), "a file removed changes nothing");
    w.stop().await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_taken_once_and_whole() {
    use std::io::Write as _;

    // Much longer than from write to write: a busy machine has other things to do between them.
    let settle = Duration::from_secs(3);
    let w = Watched::start(Fixture::new().await, settle).await;
    let whole = media::jpeg(64, 64);
    let mut file = fs::File::create(w.f.photos().join("slow.jpg")).unwrap();
    // In all longer than it takes to settle.
    let began = Instant::now();
    for part in whole.chunks(whole.len() / 16 + 1) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        tokio::time::sleep(settle / 12).await;
        assert!(w.f.assets().await.is_empty(), "it is still being written");
    }
    assert!(began.elapsed() > settle, "{:?}", began.elapsed());
    let all = w.wait("the file", |all| !all.is_empty()).await;
    assert_eq!(all[0].size_bytes, whole.len() as u64);
    let f = w.stop().await;
    assert_eq!(f.assets().await.len(), 1);
}
