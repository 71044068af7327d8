//! What became of a form: carried by the address of the page that the form leads back to, in words of a
//! closed list.

use std::fmt;

use domain::TrashId;

use crate::format;

/// Name of the query key that carries a [`Notice`]. Answers to addresses with it are not to be kept.
const NOTICE_KEY: &str = "notice";

/// Takes the notice out of a query.
pub fn take_notice(search: &str) -> (String, Option<Notice>) {
    let search = search.trim_start_matches('?');
    let value = |pair: &&str| pair.split_once('=').is_some_and(|(key, _)| key == NOTICE_KEY);
    let notice = search.split('&').find(value);
    let notice = notice.and_then(|pair| Notice::parse(pair.split_once('=')?.1));
    let rest: Vec<&str> = search.split('&').filter(|pair| !value(pair)).collect();
    (rest.join("&"), notice)
}

/// Where a form leads back to: a page of assets, with what became of the form. Anything else that
/// `back` may say is not followed.
#[cfg(feature = "ssr")]
pub(super) fn back_to(back: &str, notice: &Notice) -> String {
    let is_plain = back.len() <= 8192 && back.bytes().all(|byte| byte.is_ascii_graphic());
    let is_ours = back == "/assets" || back.starts_with("/assets/") || back.starts_with("/assets?");
    let back = if is_plain && is_ours { back } else { "/assets" };
    let back = back.split('#').next().unwrap_or(back);
    let (path, search) = back.split_once('?').unwrap_or((back, ""));
    let (search, _) = take_notice(search);
    let and = if search.is_empty() { "" } else { "&" };
    format!("{path}?{search}{and}{NOTICE_KEY}={notice}")
}

macro_rules! notice_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What became of a form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum NoticeKind {
            $($(#[$doc])* $name,)*
        }

        impl NoticeKind {
            const ALL: &[Self] = &[$(Self::$name,)*];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

notice_kinds! {
    /// Assets were changed.
    Changed = "changed",
    /// Assets are in the trash.
    Trashed = "trashed",
    /// Assets are out of the trash.
    Restored = "restored",
    /// Assets are gone.
    Purged = "purged",
    /// There are more in the trash than are removed at once.
    PurgedSome = "purged-some",
    /// Jobs are queued again.
    Retried = "retried",
    /// Some one thing was done.
    Saved = "saved",
    /// Some one thing was removed.
    Removed = "removed",
    /// Nothing was chosen.
    Nothing = "nothing",
    /// It says nothing to do.
    Empty = "empty",
    /// A label is none.
    BadLabel = "bad-label",
    /// A folder is none.
    BadFolder = "bad-folder",
    /// A name is none.
    BadName = "bad-name",
    /// A title is none.
    BadTitle = "bad-title",
    /// What was to be changed is not there.
    Gone = "gone",
    /// The role is not enough.
    Forbidden = "forbidden",
    /// No valid token came.
    LoggedOut = "logged-out",
    /// The catalog could not answer.
    Unavailable = "unavailable",
}

/// What became of a form, as the address of the next page carries it. Only words of a closed list: an
/// address cannot make a page say anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// Of how many.
    pub count: u64,
    /// What takes it back.
    pub undo: Option<TrashId>,
}

impl Notice {
    /// About no number of things.
    #[cfg(feature = "ssr")]
    pub fn new(kind: NoticeKind) -> Self {
        Self::of(kind, 0)
    }

    /// About that many things.
    #[cfg(feature = "ssr")]
    pub fn of(kind: NoticeKind, count: u64) -> Self {
        Self { kind, count, undo: None }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let word = parts.next()?;
        let kind = NoticeKind::ALL.iter().copied().find(|kind| kind.as_str() == word)?;
        let count = parts.next().map_or(Some(0), |count| count.parse().ok())?;
        let undo = parts.next().map(str::parse).transpose().ok()?;
        Some(Self { kind, count, undo })
    }

    /// Whether the form was not taken.
    pub fn is_error(&self) -> bool {
        use NoticeKind::{Changed, Purged, PurgedSome, Removed, Restored, Retried, Saved, Trashed};
        !matches!(
            self.kind,
            Changed | Trashed | Restored | Purged | PurgedSome | Retried | Saved | Removed
        )
    }

    /// For the person who sent the form.
    pub fn text(&self) -> String {
        let assets = format::counted(self.count, "asset", "assets");
        let text = match self.kind {
            NoticeKind::Changed => return format!("Changed {assets}."),
            NoticeKind::Trashed => return format!("Moved {assets} to the trash."),
            NoticeKind::Restored => return format!("Took {assets} out of the trash."),
            NoticeKind::Purged => return format!("Deleted {assets} for good."),
            NoticeKind::PurgedSome => {
                return format!("Deleted {assets} for good; more are left. Empty the trash again.");
            }
            NoticeKind::Retried => {
                let jobs = format::counted(self.count, "job", "jobs");
                return format!("Queued {jobs} again.");
            }
            NoticeKind::Saved => "Saved.",
            NoticeKind::Removed => "Removed.",
            NoticeKind::Nothing => "Nothing was selected. Tick the assets to change first.",
            NoticeKind::Empty => "Say what to change: a label, a folder or a collection.",
            NoticeKind::BadLabel => {
                "Not taken: a label has 1 to 64 characters, and no control characters."
            }
            NoticeKind::BadFolder => {
                "Not taken: a folder is names with slashes between, none of them empty, . or ..; at most 1024 bytes."
            }
            NoticeKind::BadName => "Not taken: a name has 1 to 255 bytes, and no slashes.",
            NoticeKind::BadTitle => "Not taken: a title has 1 to 100 characters.",
            NoticeKind::Gone => "What was to be changed is not there any more.",
            NoticeKind::Forbidden => "Your role does not allow this.",
            NoticeKind::LoggedOut => "You are not logged in.",
            NoticeKind::Unavailable => {
                "The catalog cannot answer at the moment; nothing was changed. The server's log says why."
            }
        };
        text.to_owned()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.as_str(), self.count)?;
        self.undo.iter().try_for_each(|undo| write!(f, ".{undo}"))
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_leads_back_to_a_page_of_assets_only() {
        let notice = Notice::of(NoticeKind::Changed, 2);
        for (back, to) in [
            ("/assets", "/assets?notice=changed.2"),
            ("/assets?kind=image", "/assets?kind=image&notice=changed.2"),
            ("/assets?notice=trashed.1.5&q=a", "/assets?q=a&notice=changed.2"),
            ("/assets/trash#x", "/assets/trash?notice=changed.2"),
            ("//evil.example/assets", "/assets?notice=changed.2"),
            ("https://evil.example", "/assets?notice=changed.2"),
            ("/assets?q=ä", "/assets?notice=changed.2"),
            ("/assets?q=a\r\nx: y", "/assets?notice=changed.2"),
            ("/assetsx", "/assets?notice=changed.2"),
        ] {
            assert_eq!(back_to(back, &notice), to);
        }
    }

    #[test]
    fn a_notice_survives_its_address() {
        let undo = TrashId::try_from(1_700_000_000_000_000).unwrap();
        let notice = Notice { undo: Some(undo), ..Notice::of(NoticeKind::Trashed, 3) };
        let address = back_to("/assets?q=a", &notice);
        let (_, search) = address.split_once('?').unwrap();
        assert_eq!(take_notice(search), ("q=a".to_owned(), Some(notice)));
        assert_eq!(notice.text(), "Moved 3 assets to the trash.");
        for kind in NoticeKind::ALL {
            let notice = Notice::new(*kind);
            assert_eq!(Notice::parse(&notice.to_string()), Some(notice));
        }
    }

    proptest! {
        #[test]
        fn any_way_back_fits_into_a_header(back in "\\PC{0,80}") {
            let to = back_to(&back, &Notice::new(NoticeKind::Saved));
            prop_assert!(to.starts_with("/assets"));
            prop_assert!(to.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
