//! What changed in the catalog, told to whoever keeps copies of it.
//!
//! Told after the change can be read: by this process at once, by other processes on the same
//! PostgreSQL database within moments, on the same SQLite file within a second. Must not: say what a row
//! holds.

use std::{
    collections::HashSet,
    fmt, fs,
    hash::{BuildHasher as _, RandomState},
    io,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use domain::AssetId;
use sqlx::{PgPool, SqlitePool, postgres::PgListener, query, query_as};
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Changes that a slow receiver may be behind.
const QUEUE: usize = 1024;
/// PostgreSQL's channel. A message on it is an origin, a space and [`words`].
const CHANNEL: &str = "damwall";
/// Assets named in one notification at most: PostgreSQL carries 8000 bytes.
const NAMED_MAX: usize = 64;
/// Wait before the database is asked for a connection again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// After so long without a word it is seen whether the connection is still one.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How long the database may take to answer then.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between looks at what other processes have written into an SQLite file, which tells of nothing itself.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// A file system's times may be so coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// Something that a page may show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tag {
    /// One asset.
    Asset(AssetId),
    /// Every list of assets.
    Assets,
    /// The folders and how much is in them.
    Folders,
    /// The labels and how many bear them.
    Tags,
    /// The collections, and what is in them.
    Collections,
    /// The saved filters.
    Filters,
    /// The jobs.
    Jobs,
    /// The definitions of cameras.
    Cameras,
    /// Anything: word of some changes was lost.
    Everything,
}

/// The text is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a tag of the catalog")]
pub struct ParseTagError;

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asset(id) => return write!(f, "asset:{id}"),
            Self::Assets => "assets",
            Self::Folders => "folders",
            Self::Tags => "tags",
            Self::Collections => "collections",
            Self::Filters => "filters",
            Self::Jobs => "jobs",
            Self::Cameras => "cameras",
            Self::Everything => "everything",
        })
    }
}

impl FromStr for Tag {
    type Err = ParseTagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "assets" => Self::Assets,
            "folders" => Self::Folders,
            "tags" => Self::Tags,
            "collections" => Self::Collections,
            "filters" => Self::Filters,
            "jobs" => Self::Jobs,
            "cameras" => Self::Cameras,
            "everything" => Self::Everything,
            _ => {
                let id = text.strip_prefix("asset:").ok_or(ParseTagError)?;
                Self::Asset(id.parse().map_err(|_| ParseTagError)?)
            }
        })
    }
}

/// Where changes are told, and the task that hears of those of other processes.
#[derive(Debug)]
pub(crate) struct Changes {
    sender: broadcast::Sender<Arc<[Tag]>>,
    /// Name of this process among those of the database.
    origin: String,
    _listener: AbortOnDropHandle<()>,
}

impl Changes {
    /// Changes of every process on a PostgreSQL database; returns when none can be missed any more.
    pub(crate) async fn on_postgres(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let listener = listening(pool).await?;
        let pool = pool.clone();
        Ok(Self::heard_by(|sender, origin| listen(pool, listener, sender, origin)))
    }

    /// Changes of every process on an SQLite file; returns when none can be missed any more.
    pub(crate) async fn on_sqlite(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        let newest = query_as("SELECT COALESCE(MAX(seq), 0) FROM changes");
        let (seq,) = newest.fetch_one(pool).await?;
        let pool = pool.clone();
        Ok(Self::heard_by(|sender, origin| look(pool, seq, sender, origin)))
    }

    fn heard_by<F>(hear: impl FnOnce(broadcast::Sender<Arc<[Tag]>>, String) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let sender = broadcast::Sender::new(QUEUE);
        // Seeded by the system; only has to differ between processes.
        let origin = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let heard = tokio::spawn(hear(sender.clone(), origin.clone()));
        Self { sender, origin, _listener: AbortOnDropHandle::new(heard) }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<[Tag]>> {
        self.sender.subscribe()
    }

    /// Tells those in this process.
    pub(crate) fn tell(&self, tags: Vec<Tag>) {
        // That nobody listens is no error.
        let _ = self.sender.send(tags.into());
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }
}

/// Tags as other processes are told of them.
pub(crate) fn words(tags: &[Tag]) -> String {
    let named = tags.iter().filter(|tag| matches!(tag, Tag::Asset(_))).count();
    let everything = [Tag::Everything];
    let tags = if named > NAMED_MAX { &everything } else { tags };
    tags.iter().map(Tag::to_string).collect::<Vec<_>>().join(" ")
}

fn read_words(words: &str) -> impl Iterator<Item = Tag> {
    // A newer version may know more tags.
    words.split(' ').map(|word| word.parse().unwrap_or(Tag::Everything))
}

/// The tags of another process's message; `None` for one of our own.
fn read_message(message: &str, origin: &str) -> Option<Vec<Tag>> {
    let (of, words) = message.split_once(' ')?;
    (of != origin).then(|| read_words(words).collect())
}

async fn listening(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    // A connection that is lost is told of, before there is another.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// The next message, or why there will be none on this connection.
async fn next_message(listener: &mut PgListener) -> Result<String, sqlx::Error> {
    loop {
        if let Ok(heard) = timeout(QUIET_MAX, listener.try_recv()).await {
            let lost = || sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into());
            return heard?.map(|message| message.payload().to_owned()).ok_or_else(lost);
        }
        // A network that forgot the connection says nothing either.
        let answer = timeout(ANSWER_MAX, query("SELECT 1").execute(&mut *listener)).await;
        answer.map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))??;
    }
}

async fn listen(
    pool: PgPool,
    mut listener: PgListener,
    sender: broadcast::Sender<Arc<[Tag]>>,
    origin: String,
) {
    loop {
        let tags = match next_message(&mut listener).await {
            Ok(message) => read_message(&message, &origin),
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::warn!(%error, "no word of other processes' changes: {error}");
                // Whatever state the old connection is in.
                listener = loop {
                    match listening(&pool).await {
                        Ok(listener) => break listener,
                        Err(sqlx::Error::PoolClosed) => return,
                        Err(_) => tokio::time::sleep(RECONNECT_AFTER).await,
                    }
                };
                tracing::info!("word of other processes' changes again");
                // What was told meanwhile is lost.
                Some(vec![Tag::Everything])
            }
        };
        if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
            let _ = sender.send(tags.into());
        }
    }
}

/// When a file was last written to. A call that takes microseconds, where the least statement takes a
/// hundred times as long.
fn written_at(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Reads what was added to the file's list of changes after `seq`, while its log is written to.
async fn look(
    pool: SqlitePool,
    mut seq: i64,
    sender: broadcast::Sender<Arc<[Tag]>>,
    origin: String,
) {
    let mut looks = interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    let mut log = pool.connect_options().get_filename().as_os_str().to_owned();
    log.push("-wal");
    let mut read = None;
    loop {
        looks.tick().await;
        let (now, written) = (SystemTime::now(), written_at(Path::new(&log)));
        // What is written just after a look may bear the same time as what was before it.
        let is_settled =
            written.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > SETTLED));
        if is_settled && written == read {
            continue;
        }
        let added = query_as::<_, (i64, Option<String>)>(
            "SELECT seq, CASE WHEN origin <> $2 THEN tags END FROM changes WHERE seq > $1 ORDER BY seq",
        );
        let added = match added.bind(seq).bind(&origin).fetch_all(&pool).await {
            Ok(added) => added,
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "no word of other processes' changes: {error}");
                }
                continue;
            }
        };
        is_failing = false;
        read = written.filter(|_| is_settled);
        let mut tags: HashSet<Tag> =
            added.iter().filter_map(|(_, tags)| tags.as_deref()).flat_map(read_words).collect();
        if added.first().is_some_and(|(first, _)| *first > seq + 1) {
            // The list is bounded, and this was too slow.
            tags.insert(Tag::Everything);
        }
        seq = added.last().map_or(seq, |(last, _)| *last);
        if !tags.is_empty() {
            let _ = sender.send(tags.into_iter().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::{Catalog, CatalogUrl};

    #[test]
    fn a_message_is_read_by_others_only() {
        let id = AssetId::from_digest([1; 32]);
        let tags = vec![Tag::Asset(id), Tag::Assets, Tag::Jobs];
        let message = format!("me {}", words(&tags));
        assert_eq!(read_message(&message, "other"), Some(tags));
        assert_eq!(read_message(&message, "me"), None);
        let many = vec![Tag::Asset(AssetId::from_digest([2; 32])); NAMED_MAX + 1];
        assert_eq!(words(&many), "everything");
        assert_eq!(read_message("x something-new", "me"), Some(vec![Tag::Everything]));
    }

    #[tokio::test]
    async fn who_is_too_far_behind_on_sqlite_takes_everything_as_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        let catalog = Catalog::open(&CatalogUrl::Sqlite(path.clone())).await.unwrap();
        let mut changes = catalog.changes();
        let other = SqlitePool::connect_with(SqliteConnectOptions::new().filename(path));
        query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) \
             INSERT INTO changes (origin, tags) SELECT 'other', 'jobs filters' FROM n",
        )
        .execute(&other.await.unwrap())
        .await
        .unwrap();
        let heard: HashSet<Tag> = changes.recv().await.unwrap().iter().cloned().collect();
        assert_eq!(heard, HashSet::from([Tag::Everything, Tag::Jobs, Tag::Filters]));
    }

    proptest! {
        #[test]
        fn a_tag_is_its_own_text(text in "(asset:sha256:)?[a-f0-9]{0,64}|\\PC{0,20}") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
