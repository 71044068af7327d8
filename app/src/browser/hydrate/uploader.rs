//! Reads, hashes and sends files. Must not: decide what is sent when (that is [`crate::state::upload`]).
//!
//! What this browser remembers of a file is its hash, under its name, length and time, so that after a
//! reload it need not be read to its end again.

mod api;
mod part;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use domain::{NewUpload, Upload, UploadId};
use js_sys::Uint8Array;
use leptos::{ev::DragEvent, html, prelude::*};
use sha2::{Digest, Sha256};
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, FileList, HtmlInputElement, Storage};

use self::{api::Answer, part::Sending};
use super::dom::{self, Interval};
use crate::{
    browser::{Row, Seen},
    state::upload::{Action, END_TOO_LATE, Event, Phase, Queue, Transfer},
};

const TICK_MS: i32 = 500;
/// Hashed at a time: some milliseconds, so that the page stays quick.
const HASH_BYTES: f64 = 1024.0 * 1024.0;
/// How often the page is told of it.
const HASH_SHOWN_EVERY: u32 = 8;

/// The files of one page.
#[derive(Clone, Copy, Debug)]
pub struct Uploader(StoredValue<Rc<Inner>, LocalStorage>);

#[derive(Debug)]
struct Inner {
    rows: RwSignal<Vec<Row>>,
    unfinished: RwSignal<Vec<Upload>>,
    queue: RefCell<Queue>,
    files: RefCell<HashMap<u32, Rc<Chosen>>>,
    tick: RefCell<Option<Interval>>,
    /// The page's: what is shown of a file lasts as long as it does.
    owner: Owner,
}

/// A file that was chosen.
#[derive(Debug)]
struct Chosen {
    file: File,
    folder: String,
    row: Row,
    parts: RefCell<HashMap<u16, Sending>>,
    /// Of the latest reading; an earlier one is not wanted any more.
    reading: Cell<u32>,
}

impl Chosen {
    fn size_bytes(&self) -> u64 {
        self.file.size() as u64
    }

    /// Under which its hash is remembered.
    fn memory(&self) -> String {
        let file = &self.file;
        format!("damwall-upload:{}:{}:{}", file.name(), file.size(), file.last_modified())
    }

    fn new_upload(&self, sha256: String) -> NewUpload {
        NewUpload {
            name: self.file.name(),
            size_bytes: self.size_bytes(),
            sha256,
            mime: self.file.type_(),
            folder: self.folder.clone(),
            modified_ms: Some(self.file.last_modified() as i64),
        }
    }
}

impl Uploader {
    /// No files yet; looks for uploads that were left unfinished.
    pub fn new(rows: RwSignal<Vec<Row>>, unfinished: RwSignal<Vec<Upload>>) -> Self {
        let inner = Rc::new(Inner {
            rows,
            unfinished,
            queue: RefCell::default(),
            files: RefCell::default(),
            tick: RefCell::default(),
            owner: Owner::current().unwrap_or_default(),
        });
        leptos::task::spawn_local(async move {
            if let Some(found) = api::unfinished().await {
                unfinished.try_set(found);
            }
        });
        let weak = Rc::downgrade(&inner);
        let tick = Interval::new(TICK_MS, move || {
            if let Some(inner) = weak.upgrade() {
                inner.tick();
            }
        });
        inner.tick.replace(Some(tick));
        Self(StoredValue::new_local(inner))
    }

    /// Takes what was chosen in a file field, and empties it. `folder` is the field that says where to.
    pub fn take_chosen(self, input: NodeRef<html::Input>, folder: NodeRef<html::Input>) {
        let (Some(inner), Some(input)) = (self.0.try_get_value(), input.get_untracked()) else {
            return;
        };
        let input: HtmlInputElement = input;
        inner.add(input.files(), &value_of(folder));
        // Choosing the same file again is to be a change.
        input.set_value("");
    }

    /// Takes what was dropped.
    pub fn take_dropped(self, event: &DragEvent, folder: NodeRef<html::Input>) {
        if let Some(inner) = self.0.try_get_value() {
            let files = event.data_transfer().and_then(|data| data.files());
            inner.add(files, &value_of(folder));
        }
    }

    /// Lets a file rest.
    pub fn pause(self, key: u32) {
        self.on_event(key, Event::Pause);
    }

    /// Goes on with it, or tries it again.
    pub fn resume(self, key: u32) {
        self.on_event(key, Event::Resume);
    }

    /// Ends an upload, removes what was sent, and takes its file off the page.
    pub fn remove(self, key: u32) {
        self.on_event(key, Event::End);
    }

    /// Ends an upload that was left unfinished.
    pub fn abort_unfinished(self, id: UploadId) {
        let Some(inner) = self.0.try_get_value() else { return };
        leptos::task::spawn_local(async move {
            let left = match api::end_unfinished(&id).await {
                Answer::Event(Event::Ended) => None,
                Answer::Event(Event::NotEnded) => Some(END_TOO_LATE),
                Answer::Event(Event::IsAsset { .. }) => Some("It is in the library already"),
                Answer::Event(_) => Some("The server does not answer. Try again"),
                Answer::LoggedOut => return dom::go_to_login(),
            };
            inner.unfinished.try_update(|all| match left {
                None => all.retain(|one| one.id != id),
                Some(text) => {
                    let same = all.iter_mut().filter(|one| one.id == id);
                    same.for_each(|one| one.reason = Some(format!("{text}.")));
                }
            });
        });
    }

    /// Sends nothing more; what has arrived stays for the next time.
    pub fn close(self) {
        if let Some(inner) = self.0.try_get_value() {
            inner.tick.take();
            for (_, chosen) in inner.files.take() {
                chosen.reading.set(chosen.reading.get() + 1);
                chosen.parts.take();
            }
        }
    }

    fn on_event(self, key: u32, event: Event) {
        if let Some(inner) = self.0.try_get_value() {
            inner.on_event(key, event);
        }
    }
}

fn value_of(field: NodeRef<html::Input>) -> String {
    field.get_untracked().map(|field: HtmlInputElement| field.value()).unwrap_or_default()
}

impl Inner {
    fn add(self: &Rc<Self>, files: Option<FileList>, folder: &str) {
        let Some(files) = files else { return };
        for index in 0..files.length() {
            let Some(file) = files.get(index) else { continue };
            let (name, size_bytes) = (file.name(), file.size() as u64);
            // One that was left unfinished goes on where it was to lie.
            let left = self.unfinished.with_untracked(|all| {
                let mut same = all.iter().filter(|u| u.name == name && u.size_bytes == size_bytes);
                same.next().cloned()
            });
            let folder = left.map_or_else(|| folder.to_owned(), |left| left.folder);
            let row = self.owner.with(|| Row::new(name, folder.clone(), size_bytes));
            let (parts, reading) = (RefCell::default(), Cell::new(0));
            let mut chosen = Chosen { file, folder, row, parts, reading };
            let sha256 = storage().and_then(|s| s.get_item(&chosen.memory()).ok().flatten());
            let key = self.queue.borrow_mut().add(Transfer::new(size_bytes, sha256));
            chosen.row.key = key;
            let row = chosen.row.clone();
            self.files.borrow_mut().insert(key, Rc::new(chosen));
            self.rows.try_update(|rows| rows.push(row));
            self.show(key);
        }
        self.tick();
    }

    fn tick(self: &Rc<Self>) {
        for (key, number) in self.stalled() {
            self.on_event(key, Event::PartLost(number));
        }
        let actions = self.queue.borrow_mut().next(now_ms());
        self.act(actions);
        let keys: Vec<u32> = self.files.borrow().keys().copied().collect();
        for key in keys {
            self.show(key);
        }
    }

    /// Parts of which nothing was sent for long; they are given up.
    fn stalled(&self) -> Vec<(u32, u16)> {
        let now_ms = dom::now_ms();
        let mut stalled = Vec::new();
        for (key, chosen) in &*self.files.borrow() {
            chosen.parts.borrow_mut().retain(|number, sending| {
                let is_stalled = sending.is_stalled(now_ms);
                if is_stalled {
                    stalled.push((*key, *number));
                }
                !is_stalled
            });
        }
        stalled
    }

    fn chosen(&self, key: u32) -> Option<Rc<Chosen>> {
        self.files.borrow().get(&key).cloned()
    }

    fn on_event(self: &Rc<Self>, key: u32, event: Event) {
        if let Event::Told(upload) = &event {
            self.unfinished.try_update(|all| all.retain(|one| one.id != upload.id));
        }
        let actions = self.queue.borrow_mut().on_event(now_ms(), key, event);
        self.show(key);
        self.act(actions);
    }

    /// Writes to the page how far a file is.
    fn show(&self, key: u32) {
        let Some(chosen) = self.chosen(key) else { return };
        let queue = self.queue.borrow();
        let Some(transfer) = queue.get(key) else { return };
        if transfer.is_over() {
            forget(&chosen.memory());
        }
        let asset = match transfer.phase() {
            Phase::Done { asset, .. } => Some(asset.clone()),
            _ => None,
        };
        let seen = Seen {
            state: transfer.name(),
            text: transfer.text(now_ms()),
            done_bytes: transfer.done_bytes() as f64,
            asset,
        };
        if chosen.row.seen.try_with_untracked(|shown| *shown != seen) == Some(true) {
            chosen.row.seen.try_set(seen);
        }
    }

    fn act(self: &Rc<Self>, actions: Vec<(u32, Action)>) {
        for (key, action) in actions {
            let Some(chosen) = self.chosen(key) else { continue };
            match action {
                Action::Hash => self.hash(key, chosen),
                Action::Announce(sha256) => {
                    let new = chosen.new_upload(sha256);
                    self.ask(key, async move { api::announce(&new).await });
                }
                Action::Sign(id, numbers) => {
                    self.ask(key, async move { api::sign(&id, &numbers).await });
                }
                Action::Complete(id, parts) => {
                    self.ask(key, async move { api::complete(&id, &parts).await });
                }
                Action::Look(id) => self.ask(key, async move { api::look(&id).await }),
                Action::Send { number, url, start, end } => {
                    let weak = Rc::downgrade(self);
                    let on_event = move |event: Event| tell(&weak, key, number, event);
                    let sending =
                        Sending::start(&chosen.file, &url, number, (start, end), on_event);
                    match sending {
                        Ok(sending) => {
                            chosen.parts.borrow_mut().insert(number, sending);
                        }
                        Err(_) => self.on_event(key, Event::PartLost(number)),
                    }
                }
                Action::Cancel => {
                    chosen.reading.set(chosen.reading.get() + 1);
                    chosen.parts.take();
                }
                Action::End(id) => self.ask(key, async move { api::end(&id).await }),
                Action::Leave => self.leave(key, &chosen),
            }
            self.show(key);
        }
    }

    /// Takes a file off the page.
    fn leave(self: &Rc<Self>, key: u32, chosen: &Chosen) {
        forget(&chosen.memory());
        self.queue.borrow_mut().remove(key);
        self.files.borrow_mut().remove(&key);
        self.rows.try_update(|rows| rows.retain(|row| row.key != key));
        // The others go on.
        let actions = self.queue.borrow_mut().next(now_ms());
        self.act(actions);
    }

    fn ask(self: &Rc<Self>, key: u32, question: impl Future<Output = Answer> + 'static) {
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let answer = question.await;
            let Some(inner) = weak.upgrade() else { return };
            match answer {
                Answer::Event(event) => inner.on_event(key, event),
                Answer::LoggedOut => dom::go_to_login(),
            }
        });
    }

    fn hash(self: &Rc<Self>, key: u32, chosen: Rc<Chosen>) {
        let weak = Rc::downgrade(self);
        let reading = chosen.reading.get() + 1;
        chosen.reading.set(reading);
        leptos::task::spawn_local(async move {
            let tell = |event| {
                let inner = weak.upgrade().filter(|_| chosen.reading.get() == reading);
                inner.map(|inner| inner.on_event(key, event))
            };
            let mut hasher = Sha256::new();
            let (mut start, mut slices) = (0.0, 0_u32);
            let size_bytes = chosen.file.size();
            while start < size_bytes {
                let end = size_bytes.min(start + HASH_BYTES);
                let Some(bytes) = read(&chosen.file, start, end).await else {
                    let text = "The file cannot be read, or has changed since it was chosen.";
                    tell(Event::Unreadable(text.to_owned()));
                    return;
                };
                hasher.update(&bytes);
                (start, slices) = (end, slices + 1);
                if chosen.reading.get() != reading {
                    return;
                }
                if slices.is_multiple_of(HASH_SHOWN_EVERY)
                    && tell(Event::Hashed(end as u64)).is_none()
                {
                    return;
                }
            }
            let sha256: String =
                hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if let Some(storage) = storage() {
                // A full or forbidden storage costs a second reading.
                let _ = storage.set_item(&chosen.memory(), &sha256);
            }
            tell(Event::HashIs(sha256));
        });
    }
}

/// Passes on what became of a part, after the browser's own callback has ended.
fn tell(weak: &Weak<Inner>, key: u32, number: u16, event: Event) {
    let weak = weak.clone();
    leptos::task::spawn_local(async move {
        let Some(inner) = weak.upgrade() else { return };
        let Some(chosen) = inner.chosen(key) else { return };
        // One that was cancelled meanwhile has nothing to say.
        if !chosen.parts.borrow().contains_key(&number) {
            return;
        }
        if !matches!(event, Event::Sent(..)) {
            chosen.parts.borrow_mut().remove(&number);
        }
        inner.on_event(key, event);
    });
}

async fn read(file: &File, start: f64, end: f64) -> Option<Vec<u8>> {
    let slice = file.slice_with_f64_and_f64(start, end).ok()?;
    let buffer = JsFuture::from(slice.array_buffer()).await.ok()?;
    Some(Uint8Array::new(&buffer).to_vec())
}

fn storage() -> Option<Storage> {
    dom::window().local_storage().ok().flatten()
}

fn forget(memory: &str) {
    if let Some(storage) = storage() {
        let _ = storage.remove_item(memory);
    }
}

/// A whole number of milliseconds since the page began.
fn now_ms() -> u64 {
    dom::now_ms() as u64
}
