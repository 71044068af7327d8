//! Uploading files: what is asked, sent and tried again, and when. Must not: touch the browser or read a
//! clock.
//!
//! A file is hashed, announced, sent in parts and completed. What has arrived only the server knows: after
//! a reload, or when an upload has gone, announcing the same file again leads back to where it was.

use domain::{AssetId, Upload, UploadId, UploadPart, UploadState, part_range};

use crate::format;

/// Parts on their way at once.
pub const PARALLEL: usize = 5;
/// What is said of an upload that is to end while it is being verified.
pub const END_TOO_LATE: &str = "It is being checked already and cannot be cancelled any more";
/// Links asked for at once.
const SIGN_AHEAD: usize = 10;
const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 30_000;
/// Between looks at an upload that is being verified.
const POLL_MS: u64 = 1_000;
/// Reasons of a form that are told.
const REASONS_MAX: usize = 4;
/// A link that is refused so often in a row is not refused for its age.
const REFUSALS_MAX: u32 = 3;

/// How far a file has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Others come first.
    Waiting,
    /// Its bytes are being read.
    Hashing {
        /// So many of them.
        done_bytes: u64,
    },
    /// Hashed; another is being sent.
    Ready,
    /// The server is being told of it.
    Announcing,
    /// Its parts are being sent.
    Sending,
    /// Everything was sent; the server compares.
    Verifying,
    /// It is an asset.
    Done {
        /// Which.
        asset: AssetId,
        /// Whether it was one before.
        was_known: bool,
    },
    /// It is none, and why.
    Failed(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes are hashed.
    Hashed(u64),
    /// All are: 64 hex digits.
    HashIs(String),
    /// The file could not be read; a sentence.
    Unreadable(String),
    /// The server has these bytes already, or has verified them.
    IsAsset {
        /// Which asset.
        asset: AssetId,
        /// Whether nothing had to be sent.
        was_known: bool,
    },
    /// The upload as the server knows it.
    Told(Box<Upload>),
    /// Links for parts.
    Signed(Vec<(u16, String)>),
    /// So many bytes of a part are sent.
    Sent(u16, u64),
    /// A part has arrived, and its etag.
    Arrived(u16, String),
    /// A part was refused with this status.
    PartRefused(u16, u16),
    /// A part got no answer, or one that will be another later.
    PartLost(u16),
    /// A question got no answer, or one that will be another later.
    Lost,
    /// The server knows no such upload.
    Gone,
    /// The server says no; a sentence.
    Refused(String),
    /// Somebody wants it to rest.
    Pause,
    /// Somebody wants it to go on, or to be tried again.
    Resume,
    /// Somebody wants it to end, and off the page.
    End,
    /// The server knows no such upload any more.
    Ended,
    /// The server does not end it: it is being verified.
    NotEnded,
    /// Nothing is known of the end.
    EndLost,
    /// Time has passed.
    Tick,
}

/// What the browser is to do. Every question but [`Action::Send`] and [`Action::Hash`] is the only one of
/// its file at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hash the file.
    Hash,
    /// Announce it under this hash.
    Announce(String),
    /// Ask for links.
    Sign(UploadId, Vec<u16>),
    /// Send bytes `start..end` as part `number`.
    Send {
        /// From 1.
        number: u16,
        /// Where to.
        url: String,
        /// First byte.
        start: u64,
        /// Byte behind the last.
        end: u64,
    },
    /// Everything has arrived.
    Complete(UploadId, Vec<UploadPart>),
    /// Ask how far the server is, or which parts it has.
    Look(UploadId),
    /// Stop sending whatever is on its way.
    Cancel,
    /// End the upload, and remove what was sent.
    End(UploadId),
    /// Take the file off the page.
    Leave,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    url: Option<String>,
    progress: Progress,
}

impl Part {
    fn arrived(etag: String) -> Self {
        Self { url: None, progress: Progress::Arrived(etag) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    ToSend,
    OnItsWay(u64),
    /// It ended without an answer: the server may have it.
    Doubtful,
    Arrived(String),
}

/// Whether an upload is to end before it is an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nobody wants it to.
    No,
    /// Somebody does; the answer to another question comes first.
    Wanted,
    /// The server is asked.
    Asked,
    /// It was asked for too late.
    TooLate,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Transfer {
    size_bytes: u64,
    phase: Phase,
    is_paused: bool,
    ending: Ending,
    sha256: Option<String>,
    id: Option<UploadId>,
    part_bytes: u64,
    parts: Vec<Part>,
    /// A question is under way.
    is_asking: bool,
    /// Nothing is begun before.
    hold_until_ms: u64,
    /// Losses since something went well.
    losses: u32,
    refusals: u32,
}

impl Transfer {
    /// A file of that length, and its hash if that is remembered.
    pub fn new(size_bytes: u64, sha256: Option<String>) -> Self {
        Self {
            size_bytes,
            phase: Phase::Waiting,
            is_paused: false,
            ending: Ending::No,
            sha256,
            id: None,
            part_bytes: 0,
            parts: Vec::new(),
            is_asking: false,
            hold_until_ms: 0,
            losses: 0,
            refusals: 0,
        }
    }

    /// How far it has come.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether somebody made it rest.
    pub fn is_paused(&self) -> bool {
        self.is_paused && !self.is_over()
    }

    /// Whether there is nothing more to do for it.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done { .. } | Phase::Failed(_))
    }

    /// One word for tests and styles.
    pub fn name(&self) -> &'static str {
        match &self.phase {
            Phase::Done { .. } => "done",
            Phase::Failed(_) => "failed",
            _ if self.is_ending() => "ending",
            _ if self.is_paused => "paused",
            Phase::Waiting | Phase::Ready => "waiting",
            Phase::Hashing { .. } => "hashing",
            _ if self.losses > 0 => "retrying",
            Phase::Announcing | Phase::Sending => "sending",
            Phase::Verifying => "verifying",
        }
    }

    /// Bytes hashed, or sent, of all; arrived ones count before those on their way do.
    pub fn done_bytes(&self) -> u64 {
        match &self.phase {
            Phase::Waiting | Phase::Ready => 0,
            Phase::Hashing { done_bytes } => *done_bytes,
            Phase::Verifying | Phase::Done { .. } => self.size_bytes,
            Phase::Announcing | Phase::Sending | Phase::Failed(_) => {
                let parts = (1..).zip(&self.parts).map(|(number, part)| match &part.progress {
                    Progress::ToSend | Progress::Doubtful => 0,
                    Progress::OnItsWay(sent) => *sent,
                    Progress::Arrived(_) => {
                        self.range(number).map_or(0, |(start, end)| end - start)
                    }
                });
                parts.sum::<u64>().min(self.size_bytes)
            }
        }
    }

    /// A sentence for the page.
    pub fn text(&self, now_ms: u64) -> String {
        let of_all = |verb: &str| {
            let (done, all) = (format::bytes(self.done_bytes()), format::bytes(self.size_bytes));
            format!("{verb} {done} of {all}")
        };
        match &self.phase {
            Phase::Done { was_known: true, .. } => "Was in the library already".to_owned(),
            Phase::Done { .. } if self.ending == Ending::TooLate => {
                "In the library: it was too late to cancel".to_owned()
            }
            Phase::Done { .. } => "In the library".to_owned(),
            Phase::Failed(reason) => reason.clone(),
            _ if self.is_ending() => "Cancelling".to_owned(),
            Phase::Sending if self.is_paused => of_all("Paused at"),
            _ if self.is_paused => "Paused".to_owned(),
            _ if self.losses > 0 => {
                let secs = self.hold_until_ms.saturating_sub(now_ms).div_ceil(1000);
                match secs {
                    0 => "The connection is lost; trying again".to_owned(),
                    secs => format!("The connection is lost; trying again in {secs} s"),
                }
            }
            Phase::Waiting | Phase::Ready => "Waiting".to_owned(),
            Phase::Hashing { .. } => of_all("Reading"),
            Phase::Announcing => "Asking the server".to_owned(),
            Phase::Sending => of_all("Sent"),
            Phase::Verifying if self.ending == Ending::TooLate => END_TOO_LATE.to_owned(),
            Phase::Verifying => "The server is checking it".to_owned(),
        }
    }

    fn range(&self, number: u16) -> Option<(u64, u64)> {
        part_range(self.size_bytes, self.part_bytes, number)
    }

    fn part(&mut self, number: u16) -> Option<&mut Part> {
        self.parts.get_mut(usize::from(number.checked_sub(1)?))
    }

    /// Whether nothing is to be begun for it.
    fn is_resting(&self) -> bool {
        self.is_paused || self.is_ending()
    }

    fn is_ending(&self) -> bool {
        matches!(self.ending, Ending::Wanted | Ending::Asked)
    }

    fn is_hashing(&self) -> bool {
        matches!(self.phase, Phase::Hashing { .. }) && !self.is_resting()
    }

    fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Announcing | Phase::Sending) && !self.is_resting()
    }

    fn end(&mut self) -> Vec<Action> {
        if self.is_ending() {
            return Vec::new();
        }
        if matches!(self.phase, Phase::Done { .. }) {
            return vec![Action::Leave];
        }
        self.ending = Ending::Wanted;
        self.call_back();
        let mut actions = vec![Action::Cancel];
        // It may be an asset by now.
        if self.phase == Phase::Verifying
            && let Some(id) = &self.id
            && !std::mem::replace(&mut self.is_asking, true)
        {
            actions.push(Action::Look(id.clone()));
        }
        actions
    }

    /// Ends it once no answer is awaited that could tell that it is an asset.
    fn go_on_ending(&mut self) -> Option<Action> {
        if self.ending != Ending::Wanted || self.is_asking {
            return None;
        }
        if matches!(self.phase, Phase::Done { .. }) {
            self.ending = Ending::TooLate;
            return None;
        }
        let Some(id) = self.id.clone() else { return Some(Action::Leave) };
        self.ending = Ending::Asked;
        Some(Action::End(id))
    }

    /// It goes on to what it will be.
    fn not_ended(&mut self) {
        self.ending = Ending::TooLate;
        self.is_paused = false;
        if !self.is_over() {
            self.phase = Phase::Verifying;
        }
    }

    fn fail(&mut self, reason: String) -> Vec<Action> {
        self.phase = Phase::Failed(reason);
        self.call_back();
        vec![Action::Cancel]
    }

    /// Parts on their way are to be sent again, unless the server has them.
    fn call_back(&mut self) {
        for part in &mut self.parts {
            if matches!(part.progress, Progress::OnItsWay(_)) {
                part.progress = Progress::Doubtful;
            }
        }
    }

    /// Tells of parts that ended without an answer whether they have arrived.
    fn settle(&mut self, upload: &Upload) {
        for (number, part) in (1..).zip(&mut self.parts) {
            if part.progress == Progress::Doubtful {
                match upload.parts_done.iter().find(|arrived| arrived.number == number) {
                    Some(UploadPart { etag, .. }) => *part = Part::arrived(etag.clone()),
                    None => part.progress = Progress::ToSend,
                }
            }
        }
    }

    fn lose(&mut self, now_ms: u64) {
        // Several parts lost at once are one loss.
        if now_ms < self.hold_until_ms {
            return;
        }
        let backoff_ms = BACKOFF_FIRST_MS.saturating_mul(1 << self.losses.min(10));
        self.hold_until_ms = now_ms.saturating_add(backoff_ms.min(BACKOFF_MAX_MS));
        self.losses = self.losses.saturating_add(1);
    }

    fn go_well(&mut self) {
        (self.losses, self.hold_until_ms) = (0, 0);
    }

    fn told(&mut self, now_ms: u64, upload: &Upload) -> Vec<Action> {
        if self.phase == Phase::Sending && upload.state == UploadState::Open {
            // Whether the way to the store is good again, only a part can show.
            self.settle(upload);
            return Vec::new();
        }
        self.go_well();
        self.id = Some(upload.id.clone());
        match upload.state {
            UploadState::Open if self.phase == Phase::Verifying => {
                // It was asked for and did not come to it.
                self.phase = Phase::Announcing;
                if self.ending == Ending::TooLate {
                    self.ending = Ending::No;
                }
            }
            UploadState::Open => {
                self.part_bytes = upload.part_bytes;
                self.parts = vec![Part::default(); usize::from(upload.part_count())];
                for arrived in &upload.parts_done {
                    if let Some(part) = self.part(arrived.number) {
                        *part = Part::arrived(arrived.etag.clone());
                    }
                }
                self.phase = Phase::Sending;
            }
            UploadState::Verifying => {
                self.phase = Phase::Verifying;
                self.hold_until_ms = now_ms.saturating_add(POLL_MS);
            }
            UploadState::Done => {
                self.phase = Phase::Done { asset: upload.asset_id.clone(), was_known: false };
            }
            UploadState::Failed => {
                let reason = upload.reason.clone();
                return self.fail(reason.unwrap_or_else(|| "The upload failed.".to_owned()));
            }
        }
        Vec::new()
    }

    fn on_event(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        let mut actions = self.take(now_ms, event);
        actions.extend(self.go_on_ending());
        actions
    }

    fn take(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        let is_answer = matches!(
            event,
            Event::IsAsset { .. }
                | Event::Told(_)
                | Event::Signed(_)
                | Event::Lost
                | Event::Gone
                | Event::Refused(_)
        );
        if is_answer {
            self.is_asking = false;
        }
        match event {
            Event::End => return self.end(),
            Event::NotEnded => self.not_ended(),
            Event::EndLost if self.phase == Phase::Verifying => self.not_ended(),
            // What is not ended now is ended by the server after a week.
            Event::Ended | Event::EndLost => return vec![Action::Leave],
            _ if matches!(self.phase, Phase::Done { .. }) => {}
            Event::Resume if self.is_over() => {
                self.refusals = 0;
                self.go_well();
                self.phase = Phase::Waiting;
            }
            _ if self.is_over() => {}
            Event::Hashed(done_bytes) => {
                if let Phase::Hashing { done_bytes: done } = &mut self.phase {
                    *done = done_bytes;
                }
            }
            Event::HashIs(sha256) => {
                self.sha256 = Some(sha256);
                if matches!(self.phase, Phase::Hashing { .. }) {
                    self.phase = Phase::Ready;
                }
            }
            Event::Unreadable(reason) | Event::Refused(reason) => return self.fail(reason),
            Event::IsAsset { asset, was_known } => self.phase = Phase::Done { asset, was_known },
            Event::Told(upload) => return self.told(now_ms, &upload),
            Event::Signed(links) => {
                for (number, url) in links {
                    if let Some(part) = self.part(number) {
                        part.url = Some(url);
                    }
                }
            }
            Event::Sent(number, sent_bytes) => {
                if let Some(Part { progress: Progress::OnItsWay(sent), .. }) = self.part(number) {
                    *sent = sent_bytes;
                }
            }
            Event::Arrived(number, etag) => {
                self.go_well();
                self.refusals = 0;
                if let Some(part) = self.part(number) {
                    *part = Part::arrived(etag);
                }
            }
            Event::PartLost(number) => {
                self.lose(now_ms);
                if let Some(part) = self.part(number) {
                    part.progress = Progress::Doubtful;
                }
            }
            Event::PartRefused(number, status) => {
                if let Some(part) = self.part(number) {
                    *part = Part::default();
                }
                self.refusals += 1;
                match status {
                    507 => return self.fail("The blob store is full.".to_owned()),
                    // The upload is no more: begin it again.
                    404 => self.phase = Phase::Announcing,
                    _ if self.refusals > REFUSALS_MAX * PARALLEL as u32 => {
                        return self.fail(format!("The blob store refuses a part ({status})."));
                    }
                    _ => {}
                }
            }
            Event::Lost => self.lose(now_ms),
            Event::Gone => {
                // Never in a hurry: who answers so may do it again.
                self.lose(now_ms);
                self.phase = Phase::Announcing;
            }
            Event::Pause => {
                self.is_paused = true;
                self.call_back();
                if matches!(self.phase, Phase::Hashing { .. }) {
                    self.phase = Phase::Waiting;
                }
                return vec![Action::Cancel];
            }
            Event::Resume => {
                self.is_paused = false;
                self.refusals = 0;
                self.go_well();
            }
            Event::Tick => {}
        }
        Vec::new()
    }

    /// What is to be begun now.
    fn next(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.is_resting() || now_ms < self.hold_until_ms {
            return actions;
        }
        let mut ask = |is_asking: &mut bool, action: Action| {
            if !std::mem::replace(is_asking, true) {
                actions.push(action);
            }
        };
        match (&self.phase, &self.id, &self.sha256) {
            (Phase::Announcing, _, Some(sha256)) => {
                ask(&mut self.is_asking, Action::Announce(sha256.clone()));
            }
            (Phase::Verifying, Some(id), _) => ask(&mut self.is_asking, Action::Look(id.clone())),
            (Phase::Sending, Some(id), _) => {
                let arrived = (1..).zip(&self.parts).filter_map(|(number, part)| {
                    let Progress::Arrived(etag) = &part.progress else { return None };
                    Some(UploadPart { number, etag: etag.clone(), size_bytes: 0 })
                });
                let arrived: Vec<UploadPart> = arrived.collect();
                if arrived.len() == self.parts.len() {
                    ask(&mut self.is_asking, Action::Complete(id.clone(), arrived));
                    return actions;
                }
                if self.parts.iter().any(|part| part.progress == Progress::Doubtful) {
                    ask(&mut self.is_asking, Action::Look(id.clone()));
                    return actions;
                }
                let to_send = || {
                    let parts = (1..).zip(&self.parts);
                    parts.filter(|(_, part)| part.progress == Progress::ToSend)
                };
                let unsigned: Vec<u16> = to_send()
                    .take(SIGN_AHEAD)
                    .filter(|(_, part)| part.url.is_none())
                    .map(|(number, _)| number)
                    .collect();
                // Not for every part alone.
                let signed = to_send().filter(|(_, part)| part.url.is_some()).count();
                if !unsigned.is_empty() && signed < PARALLEL {
                    ask(&mut self.is_asking, Action::Sign(id.clone(), unsigned));
                }
                let is_on_its_way = |part: &&Part| matches!(part.progress, Progress::OnItsWay(_));
                let under_way = self.parts.iter().filter(is_on_its_way).count();
                let ready: Vec<(u16, String)> = to_send()
                    .filter_map(|(number, part)| Some((number, part.url.clone()?)))
                    .take(PARALLEL.saturating_sub(under_way))
                    .collect();
                for (number, url) in ready {
                    let Some((start, end)) = self.range(number) else { continue };
                    if let Some(part) = self.part(number) {
                        part.progress = Progress::OnItsWay(0);
                    }
                    actions.push(Action::Send { number, url, start, end });
                }
            }
            _ => {}
        }
        actions
    }
}

/// All files of a page, in the order they came; one is hashed and one is sent at a time.
#[derive(Debug, Default)]
pub struct Queue {
    transfers: Vec<(u32, Transfer)>,
    next_key: u32,
}

impl Queue {
    /// Adds a file; the key names it from now on.
    pub fn add(&mut self, transfer: Transfer) -> u32 {
        self.next_key += 1;
        self.transfers.push((self.next_key, transfer));
        self.next_key
    }

    /// Takes a file out.
    pub fn remove(&mut self, key: u32) {
        self.transfers.retain(|(other, _)| *other != key);
    }

    /// One file.
    pub fn get(&self, key: u32) -> Option<&Transfer> {
        self.transfers.iter().find(|(other, _)| *other == key).map(|(_, transfer)| transfer)
    }

    /// Whether leaving the page would interrupt something.
    pub fn is_busy(&self) -> bool {
        self.transfers.iter().any(|(_, transfer)| !transfer.is_over() && !transfer.is_paused)
    }

    /// Takes what happened to one file, and tells what is to be done for any.
    pub fn on_event(&mut self, now_ms: u64, key: u32, event: Event) -> Vec<(u32, Action)> {
        let mut actions = Vec::new();
        if let Some((_, transfer)) = self.transfers.iter_mut().find(|(other, _)| *other == key) {
            actions.extend(transfer.on_event(now_ms, event).into_iter().map(|act| (key, act)));
        }
        actions.extend(self.next(now_ms));
        actions
    }

    /// What is to be begun now.
    pub fn next(&mut self, now_ms: u64) -> Vec<(u32, Action)> {
        let mut actions = Vec::new();
        let mut is_hashing = self.transfers.iter().any(|(_, transfer)| transfer.is_hashing());
        let mut is_sending = self.transfers.iter().any(|(_, transfer)| transfer.is_sending());
        for (key, transfer) in &mut self.transfers {
            if transfer.phase == Phase::Waiting && !transfer.is_resting() {
                if transfer.sha256.is_some() {
                    transfer.phase = Phase::Ready;
                } else if !is_hashing {
                    transfer.phase = Phase::Hashing { done_bytes: 0 };
                    is_hashing = true;
                    actions.push((*key, Action::Hash));
                }
            }
            if transfer.phase == Phase::Ready && !transfer.is_resting() && !is_sending {
                transfer.phase = Phase::Announcing;
                is_sending = true;
            }
            actions.extend(transfer.next(now_ms).into_iter().map(|action| (*key, action)));
        }
        actions
    }
}

/// The page's sentences for a form that was not taken, or not in whole, without JavaScript: why, as words with
/// dots between, how many files were added, and how many were not.
pub fn refused_form(codes: &str, added: u64, refused: u64) -> String {
    let files = format::counted(added, "file", "files");
    let counts = match (added, refused) {
        (0, 0 | 1) => None,
        // What came behind them was not looked at.
        (_, 0) => Some(format!("Added {files}, and not the rest.")),
        (_, refused) => Some(format!("Added {files}, refused {refused}.")),
    };
    let mut codes: Vec<&str> = codes.split('.').collect();
    codes.dedup();
    let reasons = codes.into_iter().take(REASONS_MAX).map(|code| match code {
        "too-large" => "Together the files are too large for this form: it takes 32 MB at a time.",
        "empty" => "No file was chosen.",
        "empty-file" => "An empty file is no picture, video or sound.",
        "not-media" => "Only pictures, videos and sounds are taken.",
        "bad-name" => "The name of a file has 1 to 255 bytes, and no slashes.",
        "bad-folder" => {
            "A folder is names with slashes between, none of them . or ..; at most 1024 bytes."
        }
        "unavailable" => "The blob store or the catalog does not answer. Try again later.",
        _ => "The form could not be read. Try again.",
    });
    let sentences: Vec<&str> = counts.as_deref().into_iter().chain(reasons).collect();
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const SIZE: u64 = 100 * MIB;

    fn upload(done: &[u16], state: UploadState) -> Upload {
        let part = |number: &u16| UploadPart {
            number: *number,
            etag: format!("e{number}"),
            size_bytes: 8 * MIB,
        };
        Upload {
            id: "ab".repeat(16).parse().unwrap(),
            name: "a.mp4".into(),
            folder: String::new(),
            size_bytes: SIZE,
            asset_id: AssetId::from_digest([1; 32]),
            part_bytes: 8 * MIB,
            parts_done: done.iter().map(part).collect(),
            state,
            reason: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn open(done: &[u16]) -> Event {
        Event::Told(Box::new(upload(done, UploadState::Open)))
    }

    struct Page {
        queue: Queue,
        key: u32,
    }

    impl Page {
        fn new() -> Self {
            let mut queue = Queue::default();
            let key = queue.add(Transfer::new(SIZE, Some("cd".repeat(32))));
            Self { queue, key }
        }

        fn on(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
            let actions = self.queue.on_event(now_ms, self.key, event);
            actions.into_iter().map(|(_, action)| action).collect()
        }

        fn transfer(&self) -> &Transfer {
            self.queue.get(self.key).unwrap()
        }

        /// Announced, with these parts there already, and links for the next.
        fn sending(&mut self, done: &[u16]) -> Vec<Action> {
            assert_eq!(self.on(0, Event::Tick), [Action::Announce("cd".repeat(32))]);
            let asked = self.on(0, open(done));
            let [Action::Sign(_, numbers)] = asked.as_slice() else { panic!("{asked:?}") };
            let links = numbers.iter().map(|number| (*number, format!("/{number}"))).collect();
            self.on(0, Event::Signed(links))
        }
    }

    fn sent(actions: &[Action]) -> Vec<u16> {
        let number = |action: &Action| match action {
            Action::Send { number, .. } => Some(*number),
            _ => None,
        };
        actions.iter().filter_map(number).collect()
    }

    #[test]
    fn a_file_is_hashed_announced_sent_five_parts_at_a_time_and_completed() {
        let mut queue = Queue::default();
        let key = queue.add(Transfer::new(SIZE, None));
        let mut page = Page { queue, key };
        assert_eq!(page.on(0, Event::Tick), [Action::Hash]);
        page.on(0, Event::Hashed(SIZE / 2));
        assert_eq!(page.transfer().text(0), "Reading 52.4 MB of 104.9 MB");
        assert_eq!(page.on(0, Event::HashIs("cd".repeat(32))), [Action::Announce("cd".repeat(32))]);
        page.on(0, open(&[]));
        let links = (1..=10).map(|number| (number, format!("/{number}"))).collect();
        let mut under_way = sent(&page.on(0, Event::Signed(links)));
        assert_eq!(under_way, [1, 2, 3, 4, 5]);
        let mut arrived = 0;
        loop {
            let number = under_way.remove(0);
            let mut actions = page.on(0, Event::Sent(number, 1000));
            actions.extend(page.on(0, Event::Arrived(number, format!("e{number}"))));
            arrived += 1;
            under_way.extend(sent(&actions));
            for action in &actions {
                if let Action::Sign(_, numbers) = action {
                    let links = numbers.iter().map(|n| (*n, format!("/{n}"))).collect();
                    under_way.extend(sent(&page.on(0, Event::Signed(links))));
                }
            }
            assert!(under_way.len() <= PARALLEL);
            if let Some(Action::Complete(_, parts)) = actions.last() {
                assert_eq!(parts.len(), 13);
                break;
            }
        }
        assert_eq!(arrived, 13);
        let verifying = upload(&[], UploadState::Verifying);
        assert_eq!(page.on(0, Event::Told(Box::new(verifying))), []);
        assert!(matches!(page.on(1_000, Event::Tick)[..], [Action::Look(_)]));
        page.on(1_000, Event::Told(Box::new(upload(&[], UploadState::Done))));
        assert_eq!(page.transfer().name(), "done");
    }

    #[test]
    fn parts_that_have_arrived_are_not_sent_again() {
        let mut page = Page::new();
        let actions = page.sending(&[1, 2, 3, 7]);
        assert_eq!(sent(&actions), [4, 5, 6, 8, 9]);
        assert_eq!(page.transfer().done_bytes(), 32 * MIB);
    }

    #[test]
    fn a_cut_connection_is_tried_again_later_and_later() {
        let mut page = Page::new();
        let mut under_way = sent(&page.sending(&[]));
        let (mut now_ms, mut waits) = (0, Vec::new());
        for _ in 0..7 {
            for number in under_way.drain(..) {
                assert_eq!(page.on(now_ms, Event::PartLost(number)), []);
            }
            assert_eq!(page.transfer().name(), "retrying");
            let lost_ms = now_ms;
            let mut asked = Vec::new();
            while asked.is_empty() {
                now_ms += 500;
                asked = page.on(now_ms, Event::Tick);
            }
            assert!(matches!(asked[..], [Action::Look(_)]), "{asked:?}");
            under_way = sent(&page.on(now_ms, open(&[])));
            assert_eq!(page.transfer().name(), "retrying");
            waits.push((now_ms - lost_ms) / 1000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        page.on(now_ms, Event::Arrived(1, "e1".into()));
        assert_eq!(page.transfer().name(), "sending");
    }

    #[test]
    fn a_link_that_has_expired_is_signed_again_and_one_that_is_refused_for_ever_is_not() {
        let mut page = Page::new();
        page.sending(&[]);
        let mut asked = 0;
        for _ in 0..100 {
            for action in page.on(0, Event::PartRefused(3, 403)) {
                if let Action::Sign(_, numbers) = action {
                    assert!(numbers.contains(&3));
                    asked += 1;
                    let links = numbers.iter().map(|n| (*n, format!("/{n}"))).collect();
                    page.on(0, Event::Signed(links));
                }
            }
            if page.transfer().is_over() {
                break;
            }
        }
        assert!((1..20).contains(&asked), "{asked}");
        assert!(page.transfer().text(0).contains("403"));
    }

    #[test]
    fn an_upload_that_is_gone_is_announced_again() {
        let mut page = Page::new();
        page.sending(&[1]);
        let actions = page.on(0, Event::PartRefused(2, 404));
        assert_eq!(actions, [Action::Announce("cd".repeat(32))]);
        page.on(0, open(&[]));
        assert_eq!(page.transfer().done_bytes(), 0);
    }

    #[test]
    fn pausing_stops_everything_and_going_on_sends_what_is_missing() {
        let mut page = Page::new();
        page.sending(&[1]);
        page.on(0, Event::Arrived(2, "e2".into()));
        assert_eq!(page.on(0, Event::Pause), [Action::Cancel]);
        assert_eq!(page.transfer().name(), "paused");
        assert_eq!(page.on(99_000, Event::Tick), []);
        assert!(matches!(page.on(99_000, Event::Resume)[..], [Action::Look(_)]));
        assert_eq!(sent(&page.on(99_000, open(&[1, 2]))), [3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_part_whose_answer_was_lost_is_not_sent_again() {
        let mut page = Page::new();
        assert_eq!(sent(&page.sending(&[])), [1, 2, 3, 4, 5]);
        page.on(0, Event::PartLost(2));
        page.on(0, Event::PartLost(4));
        // What has not ended goes on.
        page.on(0, Event::Sent(3, MIB));
        assert!(matches!(page.on(1_000, Event::Tick)[..], [Action::Look(_)]));
        assert_eq!(sent(&page.on(1_000, open(&[4]))), [2, 6]);
        assert_eq!(page.transfer().done_bytes(), 9 * MIB);
    }

    #[test]
    fn one_file_is_sent_while_the_next_is_hashed_and_a_paused_one_is_passed() {
        let mut queue = Queue::default();
        let keys = [0; 3].map(|_| queue.add(Transfer::new(SIZE, None)));
        assert_eq!(queue.next(0), [(keys[0], Action::Hash)]);
        let actions = queue.on_event(0, keys[0], Event::HashIs("cd".repeat(32)));
        let announce = Action::Announce("cd".repeat(32));
        assert_eq!(actions, [(keys[0], announce.clone()), (keys[1], Action::Hash)]);
        let actions = queue.on_event(0, keys[1], Event::HashIs("cd".repeat(32)));
        assert_eq!(actions, [(keys[2], Action::Hash)]);
        let actions = queue.on_event(0, keys[0], Event::Pause);
        assert_eq!(actions, [(keys[0], Action::Cancel), (keys[1], announce)]);
        assert!(queue.is_busy());
    }

    #[test]
    fn bytes_that_the_server_has_are_not_sent() {
        let mut page = Page::new();
        page.on(0, Event::Tick);
        let asset = AssetId::from_digest([1; 32]);
        page.on(0, Event::IsAsset { asset, was_known: true });
        assert_eq!(page.transfer().text(0), "Was in the library already");
        assert!(!page.queue.is_busy());
        assert_eq!(page.on(0, Event::Resume), []);
    }

    #[test]
    fn a_refusal_is_a_sentence_and_can_be_tried_again() {
        let mut page = Page::new();
        page.sending(&[]);
        assert_eq!(page.on(0, Event::Refused("No.".into())), [Action::Cancel]);
        assert_eq!((page.transfer().name(), page.transfer().text(0)), ("failed", "No.".into()));
        assert_eq!(page.on(0, Event::Resume), [Action::Announce("cd".repeat(32))]);
    }

    #[test]
    fn an_upload_is_ended_by_the_server_before_its_file_leaves_the_page() {
        let mut page = Page::new();
        page.sending(&[1]);
        let [Action::Cancel, Action::End(_)] = page.on(0, Event::End)[..] else { panic!() };
        assert_eq!((page.transfer().name(), page.on(99_000, Event::Tick)), ("ending", vec![]));
        assert_eq!(page.on(99_000, Event::End), [], "once");
        assert_eq!(page.on(99_000, Event::Ended), [Action::Leave]);

        // Nothing was announced.
        let mut page = Page::new();
        assert_eq!(page.on(0, Event::End), [Action::Cancel, Action::Leave]);
        // The server may just have heard of it.
        let mut page = Page::new();
        page.on(0, Event::Tick);
        assert_eq!(page.on(0, Event::End), [Action::Cancel]);
        assert!(matches!(page.on(0, open(&[]))[..], [Action::End(_)]));
        assert_eq!(page.on(0, Event::EndLost), [Action::Leave]);
    }

    #[test]
    fn an_upload_that_is_ended_while_it_is_verified_stays_until_the_end_of_it_is_known() {
        let verifying = || {
            let mut page = Page::new();
            page.sending(&[]);
            page.on(0, Event::Told(Box::new(upload(&[], UploadState::Verifying))));
            page
        };
        let told = |state| Event::Told(Box::new(upload(&[], state)));
        // The server does end it.
        let mut page = verifying();
        assert!(matches!(page.on(0, Event::End)[..], [Action::Cancel, Action::Look(_)]));
        assert!(matches!(page.on(0, told(UploadState::Verifying))[..], [Action::End(_)]));
        assert_eq!(page.on(0, Event::Ended), [Action::Leave]);
        // It does not, or does not say.
        for answer in [Event::NotEnded, Event::EndLost] {
            let mut page = verifying();
            page.on(0, Event::End);
            page.on(0, told(UploadState::Verifying));
            page.on(0, answer);
            assert_eq!(page.transfer().name(), "verifying");
            assert_eq!(page.transfer().text(0), END_TOO_LATE);
            assert!(matches!(page.on(1_000, Event::Tick)[..], [Action::Look(_)]));
            page.on(1_000, told(UploadState::Done));
            assert!(page.transfer().text(0).starts_with("In the library: it was too late"));
            assert_eq!(page.on(1_000, Event::End), [Action::Leave]);
        }
        // It was an asset before.
        let mut page = verifying();
        page.on(0, Event::End);
        assert_eq!(page.on(0, told(UploadState::Done)), []);
        assert!(page.transfer().text(0).starts_with("In the library: it was too late"));
    }

    #[test]
    fn a_form_says_how_many_files_were_taken_and_why_others_were_not() {
        for (codes, added, refused, text) in [
            ("empty", 0, 0, "No file was chosen."),
            ("not-media", 0, 1, "Only pictures, videos and sounds are taken."),
            (
                "not-media",
                2,
                1,
                "Added 2 files, refused 1. Only pictures, videos and sounds are taken.",
            ),
            ("too-large", 1, 0, "Added 1 file, and not the rest. Together"),
            ("bad-name.empty-file", 0, 2, "Added 0 files, refused 2. The name of a file has"),
            ("bad-folder", 0, 0, "A folder is names"),
            ("<b>", 0, 0, "The form could not be read."),
        ] {
            let told = refused_form(codes, added, refused);
            assert!(told.starts_with(text), "{codes}: {told}");
        }
        assert!(refused_form(&"x.empty.".repeat(99), 0, 0).len() < 400);
    }
}
