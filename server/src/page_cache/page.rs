//! A kept answer: a content, what it was made from, and how old it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed},
};

use super::{content::Content, freshness::Age, tags::TagSet};

/// A kept answer. Its content never changes; its age does, under those who read it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) content: Arc<Content>,
    pub(crate) tags: TagSet,
    made_ms: i64,
    is_failure: bool,
    is_changed: AtomicBool,
    failures: AtomicU32,
    failed_ms: AtomicI64,
}

impl Page {
    /// A good answer whose making began at `made_ms`.
    pub(crate) fn new(content: Arc<Content>, tags: TagSet, made_ms: i64) -> Self {
        Self {
            content,
            tags,
            made_ms,
            is_failure: false,
            is_changed: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            failed_ms: AtomicI64::new(0),
        }
    }

    /// A failure at `now_ms`, after `failures` others; kept until the next try.
    pub(crate) fn failure(content: Arc<Content>, failures: u32, now_ms: i64) -> Self {
        let page = Self {
            is_failure: true,
            failures: AtomicU32::new(failures),
            ..Self::new(content, TagSet::default(), now_ms)
        };
        page.note_failure(now_ms);
        page
    }

    pub(crate) fn age(&self) -> Age {
        Age {
            is_changed: self.is_changed.load(Relaxed),
            is_failure: self.is_failure,
            failures: self.failures.load(Relaxed),
            failed_ms: self.failed_ms.load(Relaxed),
            ..Age::new(self.made_ms)
        }
    }

    /// Whether this is a good answer, perhaps an old one.
    pub(crate) fn is_good(&self) -> bool {
        !self.is_failure
    }

    /// Something it was made from has changed.
    pub(crate) fn note_change(&self) {
        self.failures.store(self.age().changed().failures, Relaxed);
        self.is_changed.store(true, Relaxed);
    }

    /// A render that was to replace it failed.
    pub(crate) fn note_failure(&self, now_ms: i64) {
        let age = self.age().failed(now_ms);
        self.failed_ms.store(age.failed_ms, Relaxed);
        self.failures.store(age.failures, Relaxed);
    }
}
