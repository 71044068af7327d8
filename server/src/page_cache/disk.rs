//! Answers that outlive a restart: a file each, written whole or not at all.
//!
//! Must not: be needed. Whatever cannot be read or written here is made anew; only what another build or
//! another configuration wrote is a danger, and lies in a folder of another name, which is removed.
//!
//! A file is the SHA-256 of the rest, the length of the head (u32, little-endian), the head as JSON, the
//! body, and the body in gzip. Its modification time is when the answer was made.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::{
    Content, IDLE_MAX, Key, Kind, Page, flight::set_policy, freshness::FRESH_MS, tags::TagSet,
};
use crate::cache_policy::CachePolicy;

const SUFFIX: &str = "page";
/// Longer files are none of ours.
const FILE_MAX_BYTES: u64 = 20 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    key: String,
    headers: Vec<(String, String)>,
    tags: Vec<u64>,
    body_len: usize,
}

/// The folder, and what is known to be in it.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    written: HashMap<Key, Written>,
    has_warned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    digest: [u8; 16],
    made_ms: i64,
}

impl Disk {
    /// Makes the folder of a build, and removes those of others.
    pub(super) fn open(folder: &Path, build: &str) -> Self {
        let own = hex::encode(&digest(&SHA256, build.as_bytes()).as_ref()[..8]);
        let others = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        for other in others.filter(|entry| entry.file_name() != own.as_str()) {
            if let Err(error) = fs::remove_dir_all(other.path()) {
                debug!(%error, "cannot remove {}: {error}", other.path().display());
            }
        }
        let folder = folder.join(own);
        let mut disk = Self { folder, written: HashMap::new(), has_warned: false };
        // Pages of a library behind a login are nobody else's.
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&disk.folder) {
            disk.warn("make", &error);
        }
        disk
    }

    /// Reads everything; what cannot be read is removed. What is read is stale at best.
    pub(super) fn load(&mut self, now_ms: i64, is_open: bool) -> Vec<(Key, Arc<Page>)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let mut pages = Vec::new();
        for path in entries.map(|entry| entry.path()) {
            let Some((key, page, age)) = read(&path, now_ms, is_open) else {
                let _ = fs::remove_file(&path);
                continue;
            };
            debug!(key = %key.target(), age_secs = age.as_secs(), "{} was kept", key.target());
            let written = Written { digest: page.content.digest, made_ms: page.age().made_ms };
            self.written.insert(key.clone(), written);
            pages.push((key, Arc::new(page)));
        }
        pages
    }

    /// Makes the folder hold the good answers among these that nothing has changed, and no others.
    pub(super) fn sync(&mut self, pages: &[(Key, Arc<Page>)], now_ms: i64) {
        let is_kept = |page: &Page| page.is_good() && !page.age().is_changed;
        let kept: HashMap<&Key, &Page> = pages
            .iter()
            .filter(|(_, page)| is_kept(page))
            .map(|(key, page)| (key, &**page))
            .collect();
        let gone: Vec<Key> =
            self.written.keys().filter(|key| !kept.contains_key(key)).cloned().collect();
        for key in gone {
            let _ = fs::remove_file(self.path(&key));
            self.written.remove(&key);
        }
        for (key, page) in kept {
            let now = Written { digest: page.content.digest, made_ms: page.age().made_ms };
            let before = self.written.get(key);
            if before == Some(&now) {
                continue;
            }
            let path = self.path(key);
            let made = made_at(now.made_ms, now_ms);
            let outcome = match before {
                Some(before) if before.digest == now.digest => {
                    File::options().write(true).open(&path).and_then(|file| file.set_modified(made))
                }
                _ => write(&path, key, page, made),
            };
            match outcome {
                Ok(()) => drop(self.written.insert(key.clone(), now)),
                Err(error) => {
                    self.written.remove(key);
                    self.warn("write", &error);
                }
            }
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name = hex::encode(&digest(&SHA256, key.to_string().as_bytes()).as_ref()[..16]);
        self.folder.join(name).with_extension(SUFFIX)
    }

    /// A full disk is told of once; pages are served all the same.
    fn warn(&mut self, action: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let folder = self.folder.display();
            warn!(%error, "pages will not outlive a restart: cannot {action} {folder}: {error}");
        }
    }
}

/// Wall-clock time of a moment on the cache's clock.
fn made_at(made_ms: i64, now_ms: i64) -> SystemTime {
    let age = Duration::from_millis(now_ms.saturating_sub(made_ms).max(0).unsigned_abs());
    SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn write(path: &Path, key: &Key, page: &Page, made: SystemTime) -> io::Result<()> {
    let content = &page.content;
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers =
        content.headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let body = &content.identity.body;
    let head = Head {
        key: key.to_string(),
        headers: headers.collect(),
        tags: page.tags.numbers().to_vec(),
        body_len: body.len(),
    };
    let head = serde_json::to_vec(&head)?;
    let head_len = u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes();
    let gzip = content.gzip_body().unwrap_or_default();
    let rest = [&head_len[..], &head, body, &gzip].concat();
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp)?;
    file.write_all(digest(&SHA256, &rest).as_ref())?;
    file.write_all(&rest)?;
    file.set_modified(made)?;
    drop(file);
    fs::rename(&temp, path)
}

/// A file's answer and its age; `None` for anything that this build would not have written.
fn read(path: &Path, now_ms: i64, is_open: bool) -> Option<(Key, Page, Duration)> {
    let metadata = fs::metadata(path).ok()?;
    let is_ours = path.extension()? == SUFFIX && metadata.len() <= FILE_MAX_BYTES;
    let age = SystemTime::now().duration_since(metadata.modified().ok()?).unwrap_or_default();
    if !is_ours || age > IDLE_MAX {
        return None;
    }
    let (key, content, tags) = parse(fs::read(path).ok()?.into(), is_open)?;
    let age_ms = i64::try_from(age.as_millis()).ok()?.max(FRESH_MS);
    let page = Page::new(Arc::new(content), tags, now_ms.saturating_sub(age_ms));
    Some((key, page, age))
}

fn parse(file: Bytes, is_open: bool) -> Option<(Key, Content, TagSet)> {
    let (checksum, rest) = file.split_at_checked(32)?;
    if digest(&SHA256, rest).as_ref() != checksum {
        return None;
    }
    let (head_len, rest) = rest.split_first_chunk::<4>()?;
    let (head, bodies) =
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(*head_len)).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let key = Key::parse(&head.key)?;
    let (body, gzip) = bodies.split_at_checked(head.body_len)?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers {
        headers.append(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
    }
    // Not as it was written: the login may have been switched on since.
    let policy = match (key.kind(), is_open) {
        (Kind::Page, true) => CachePolicy::OpenPage,
        (Kind::Api, true) => CachePolicy::OpenApi,
        (_, false) => CachePolicy::Revalidate,
    };
    set_policy(&mut headers, key.kind(), policy);
    let gzip = (!gzip.is_empty()).then(|| file.slice_ref(gzip));
    let content = Content::restored(headers, file.slice_ref(body), gzip);
    Some((key, content, TagSet::from_numbers(head.tags)))
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};
    use catalog::Tag;

    use super::*;

    fn page(text: &str, made_ms: i64) -> (Key, Arc<Page>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let body = Bytes::copy_from_slice(text.repeat(100).as_bytes());
        let content = Content::new(StatusCode::OK, headers, body, None);
        let page = Page::new(content, TagSet::from_tags(&[Tag::Assets]), made_ms);
        (Key::parse("a- /assets?limit=5").unwrap(), Arc::new(page))
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for build in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            files.extend(fs::read_dir(build).unwrap().map(|entry| entry.unwrap().path()));
        }
        files
    }

    #[test]
    fn what_was_written_is_read_back_as_stale_by_the_same_build_only() {
        let folder = tempfile::tempdir().unwrap();
        let (key, written) = page("words ", 1_000_000);
        Disk::open(folder.path(), "one").sync(&[(key.clone(), written.clone())], 1_000_500);

        let mut again = Disk::open(folder.path(), "one");
        let loaded = again.load(0, true);
        assert_eq!(loaded.len(), 1);
        let (loaded_key, loaded) = &loaded[0];
        assert_eq!(loaded_key, &key);
        assert_eq!(loaded.content.identity.body, written.content.identity.body);
        assert_eq!(loaded.content.gzip_body(), written.content.gzip_body());
        assert_eq!(loaded.content.digest, written.content.digest, "the same entity tag");
        assert_eq!(loaded.tags, written.tags);
        assert!(loaded.content.headers["cache-control"].to_str().unwrap().starts_with("public"));
        assert!(matches!(loaded.age().verdict(0), super::super::freshness::Verdict::Stale { .. }));
        let private = Disk::open(folder.path(), "one").load(0, false);
        assert_eq!(private[0].1.content.headers["cache-control"], "private, no-cache");

        assert!(Disk::open(folder.path(), "two").load(0, true).is_empty());
        assert!(files(folder.path()).is_empty(), "what another build wrote is gone");
    }

    #[test]
    fn what_has_changed_or_is_no_longer_kept_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(folder.path(), "one");
        let kept = page("words ", 0);
        disk.sync(std::slice::from_ref(&kept), 0);
        assert_eq!(files(folder.path()).len(), 1);
        kept.1.note_change();
        disk.sync(std::slice::from_ref(&kept), 0);
        assert!(files(folder.path()).is_empty());
        disk.sync(&[page("new ", 5)], 5);
        assert_eq!(files(folder.path()).len(), 1);
        disk.sync(&[], 5);
        assert!(files(folder.path()).is_empty());
    }

    #[test]
    fn a_file_that_is_not_whole_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(folder.path(), "one");
        disk.sync(&[page("words ", 0)], 0);
        let path = &files(folder.path())[0];
        let whole = fs::read(path).unwrap();
        for cut in [0, 31, 32, 40, whole.len() - 1] {
            fs::write(path, &whole[..cut]).unwrap();
            assert!(Disk::open(folder.path(), "one").load(0, true).is_empty(), "{cut}");
            assert!(!path.exists());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read(mut rest: Vec<u8>, head_len in 0_u32..64) {
            rest.splice(0..0, head_len.to_le_bytes());
            let file = [digest(&SHA256, &rest).as_ref(), &rest].concat();
            parse(file.into(), true);
        }
    }
}
