//! Server functions that change assets, behind plain forms: the answer is a redirect to the page that
//! the form was on, with a [`Notice`]. For operators; the trash is emptied by administrators.

#[cfg(feature = "ssr")]
use domain::{AssetFilter, AssetId, AssetPatch, FolderPath, Label, TrashId};
use leptos::prelude::*;

use super::PageError;
#[cfg(feature = "ssr")]
use super::{
    notice::{Notice, NoticeKind},
    response,
};

/// Most assets that one form changes: as many as a page shows.
#[cfg(feature = "ssr")]
const IDS_MAX: usize = domain::PAGE_LIMIT_MAX as usize;
/// Most labels of one form.
#[cfg(feature = "ssr")]
const LABELS_MAX: usize = 100;

#[cfg(feature = "ssr")]
type Outcome = Result<Notice, PageError>;

/// Leaves a function with this notice.
#[cfg(feature = "ssr")]
macro_rules! or_notice {
    ($parsed:expr, $kind:ident) => {
        match $parsed {
            Ok(parsed) => parsed,
            Err(_) => return Ok(Notice::new(NoticeKind::$kind)),
        }
    };
}

/// Changes the assets that are ticked. `action` is the button: `trash`, `restore`, `take_out.7` (of that
/// collection), or none, which does whatever the other fields say.
#[server(prefix = "/fn", endpoint = "assets-change")]
pub async fn change_assets(
    #[server(default)] ids: Vec<String>,
    #[server(default)] action: String,
    #[server(default)] label: String,
    #[server(default)] unlabel: String,
    #[server(default)] folder: String,
    #[server(default)] collection: String,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let wanted = Wanted { action, label, unlabel, folder, collection };
    response::answer_form(&back, wanted.apply(&ids).await)
}

#[cfg(feature = "ssr")]
struct Wanted {
    action: String,
    label: String,
    unlabel: String,
    folder: String,
    collection: String,
}

#[cfg(feature = "ssr")]
impl Wanted {
    async fn apply(self, ids: &[String]) -> Outcome {
        let catalog = response::operator().await?.catalog;
        let ids = or_notice!(asset_ids(ids), Gone);
        if ids.is_empty() {
            return Ok(Notice::new(NoticeKind::Nothing));
        }
        match self.action.as_str() {
            "trash" => {
                let undo = response::answered(catalog.trash(&ids).await)?;
                let count = ids.len() as u64;
                return Ok(Notice { undo: Some(undo), ..Notice::of(NoticeKind::Trashed, count) });
            }
            "restore" => {
                let count = response::answered(catalog.restore(&ids).await)?;
                return Ok(Notice::of(NoticeKind::Restored, count));
            }
            _ => {}
        }
        if let Some(id) = self.action.strip_prefix("take_out.") {
            let id = or_notice!(id.parse(), Gone);
            let taken = response::answered(catalog.remove_from_collection(id, &ids).await)?;
            let Some(count) = taken else { return Ok(Notice::new(NoticeKind::Gone)) };
            return Ok(Notice::of(NoticeKind::Changed, count));
        }
        // Everything is understood before anything is done.
        let labels = or_notice!(label_list(&self.label), BadLabel);
        let unlabels = or_notice!(label_list(&self.unlabel), BadLabel);
        let folder: Option<FolderPath> = match self.folder.trim() {
            "" => None,
            typed => Some(or_notice!(typed.parse(), BadFolder)),
        };
        let collection = match self.collection.trim() {
            "" => None,
            id => Some(or_notice!(id.parse(), Gone)),
        };
        let mut changed = None;
        if !labels.is_empty() {
            changed = Some(response::answered(catalog.add_labels(&ids, &labels).await)?);
        }
        if !unlabels.is_empty() {
            changed = Some(response::answered(catalog.remove_labels(&ids, &unlabels).await)?);
        }
        if let Some(folder) = folder {
            changed = Some(response::answered(catalog.move_assets(&ids, &folder).await)?);
        }
        if let Some(id) = collection {
            let added = response::answered(catalog.add_to_collection(id, &ids).await)?;
            let Some(added) = added else { return Ok(Notice::new(NoticeKind::Gone)) };
            changed = Some(added);
        }
        Ok(match changed {
            Some(count) => Notice::of(NoticeKind::Changed, count),
            None => Notice::new(NoticeKind::Empty),
        })
    }
}

#[cfg(feature = "ssr")]
fn asset_ids(ids: &[String]) -> Result<Vec<AssetId>, domain::ParseAssetIdError> {
    ids.iter().take(IDS_MAX).map(|id| id.parse()).collect()
}

/// Labels as they are typed into one line, with commas between.
#[cfg(feature = "ssr")]
fn label_list(typed: &str) -> Result<Vec<Label>, ()> {
    typed_labels(typed.split(','))
}

/// Labels as they are typed, one on each line: they may have commas.
#[cfg(feature = "ssr")]
fn label_lines(typed: &str) -> Result<Vec<Label>, ()> {
    typed_labels(typed.lines())
}

#[cfg(feature = "ssr")]
fn typed_labels<'a>(typed: impl Iterator<Item = &'a str>) -> Result<Vec<Label>, ()> {
    let typed = typed.map(str::trim).filter(|label| !label.is_empty());
    let labels: Vec<Label> =
        typed.map(|label| label.parse().map_err(|_| ())).collect::<Result<_, _>>()?;
    if labels.len() <= LABELS_MAX { Ok(labels) } else { Err(()) }
}

/// Takes back what put assets into the trash.
#[server(prefix = "/fn", endpoint = "assets-undo")]
pub async fn undo_trash(undo: String, #[server(default)] back: String) -> Result<(), PageError> {
    let undo = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let undo: TrashId = or_notice!(undo.parse(), Gone);
        let count = response::answered(catalog.undo_trash(undo).await)?;
        Ok(Notice::of(NoticeKind::Restored, count))
    };
    let outcome = undo().await;
    response::answer_form(&back, outcome)
}

/// Removes everything that is in the trash, and its originals. For administrators.
#[server(prefix = "/fn", endpoint = "trash-empty")]
pub async fn empty_trash(#[server(default)] back: String) -> Result<(), PageError> {
    response::answer_form(&back, purge().await)
}

#[cfg(feature = "ssr")]
async fn purge() -> Outcome {
    let backend = response::administrator().await?;
    let trash = AssetFilter { trashed: true, ..AssetFilter::default() };
    let before = response::answered(backend.catalog.count_assets(&trash).await)?;
    let now = jiff::Timestamp::now();
    response::answered(catalog::purge_trash(&backend.catalog, &backend.store, now).await)?;
    let left = response::answered(backend.catalog.count_assets(&trash).await)?;
    let kind = if left == 0 { NoticeKind::Purged } else { NoticeKind::PurgedSome };
    Ok(Notice::of(kind, before.saturating_sub(left)))
}

/// Removes one asset that is in the trash, and its original. For administrators.
#[server(prefix = "/fn", endpoint = "asset-purge")]
pub async fn purge_asset(id: String, #[server(default)] back: String) -> Result<(), PageError> {
    let purge = async || -> Outcome {
        let backend = response::administrator().await?;
        let id: AssetId = or_notice!(id.parse(), Gone);
        let purged = catalog::purge_asset(&backend.catalog, &backend.store, &id).await;
        Ok(match response::answered(purged)? {
            true => Notice::of(NoticeKind::Purged, 1),
            false => Notice::new(NoticeKind::Gone),
        })
    };
    let outcome = purge().await;
    response::answer_form(&back, outcome)
}

/// Gives an asset another name, folder and labels, one on each line. An empty folder is the top.
#[server(prefix = "/fn", endpoint = "asset-save")]
pub async fn save_asset(
    // Not `Option`: what a form sends of an empty field would be read as none.
    id: String,
    name: String,
    folder: String,
    labels: String,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let save = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let id: AssetId = or_notice!(id.parse(), Gone);
        let patch = AssetPatch {
            name: Some(or_notice!(name.parse(), BadName)),
            folder: Some(or_notice!(folder.trim().parse(), BadFolder)),
            labels: Some(or_notice!(label_lines(&labels), BadLabel)),
        };
        let saved = response::answered(catalog.update_asset(&id, &patch).await)?;
        let kind = if saved.is_some() { NoticeKind::Saved } else { NoticeKind::Gone };
        Ok(Notice::new(kind))
    };
    let outcome = save().await;
    response::answer_form(&back, outcome)
}

/// Makes a collection, with the assets that are given.
#[server(prefix = "/fn", endpoint = "collection-add")]
pub async fn add_collection(
    title: String,
    #[server(default)] ids: Vec<String>,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let add = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let title = or_notice!(title.parse(), BadTitle);
        let ids = or_notice!(asset_ids(&ids), Gone);
        let collection = response::answered(catalog.create_collection(&title).await)?;
        if !ids.is_empty() {
            response::answered(catalog.add_to_collection(collection.id, &ids).await)?;
        }
        Ok(Notice::new(NoticeKind::Saved))
    };
    let outcome = add().await;
    response::answer_form(&back, outcome)
}

/// Gives a collection another title, or, by the button `delete`, removes it; its assets stay.
#[server(prefix = "/fn", endpoint = "collection-change")]
pub async fn change_collection(
    id: String,
    #[server(default)] title: String,
    #[server(default)] action: String,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let change = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let id = or_notice!(id.parse(), Gone);
        let (is_there, kind) = if action == "delete" {
            (response::answered(catalog.delete_collection(id).await)?, NoticeKind::Removed)
        } else {
            let title = or_notice!(title.parse(), BadTitle);
            (response::answered(catalog.rename_collection(id, &title).await)?, NoticeKind::Saved)
        };
        Ok(Notice::new(if is_there { kind } else { NoticeKind::Gone }))
    };
    let outcome = change().await;
    response::answer_form(&back, outcome)
}

/// Keeps a filter under a title.
#[server(prefix = "/fn", endpoint = "filter-save")]
pub async fn save_filter(
    title: String,
    #[server(default)] query: String,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let save = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let title = or_notice!(title.parse(), BadTitle);
        let filter = or_notice!(AssetFilter::parse(&query), Gone);
        response::answered(catalog.save_filter(&title, &filter).await)?;
        Ok(Notice::new(NoticeKind::Saved))
    };
    let outcome = save().await;
    response::answer_form(&back, outcome)
}

/// Forgets a filter.
#[server(prefix = "/fn", endpoint = "filter-delete")]
pub async fn delete_filter(id: String, #[server(default)] back: String) -> Result<(), PageError> {
    let delete = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        let id = or_notice!(id.parse(), Gone);
        let was_there = response::answered(catalog.delete_filter(id).await)?;
        let kind = if was_there { NoticeKind::Removed } else { NoticeKind::Gone };
        Ok(Notice::new(kind))
    };
    let outcome = delete().await;
    response::answer_form(&back, outcome)
}

/// Queues jobs that failed once more: those of one asset and kind, or all there are.
#[server(prefix = "/fn", endpoint = "jobs-retry")]
pub async fn retry_jobs(
    #[server(default)] asset: String,
    #[server(default)] kind: String,
    #[server(default)] back: String,
) -> Result<(), PageError> {
    let retry = async || -> Outcome {
        let catalog = response::operator().await?.catalog;
        if asset.is_empty() {
            let count = response::answered(catalog.retry_failed_jobs().await)?;
            return Ok(Notice::of(NoticeKind::Retried, count));
        }
        let (asset, kind) = (or_notice!(asset.parse(), Gone), or_notice!(kind.parse(), Gone));
        let job = response::answered(catalog.retry_job(&asset, kind).await)?;
        Ok(match job {
            Some(_) => Notice::of(NoticeKind::Retried, 1),
            None => Notice::new(NoticeKind::Gone),
        })
    };
    let outcome = retry().await;
    response::answer_form(&back, outcome)
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn labels_are_typed_with_commas_or_on_lines() {
        let texts = |labels: Result<Vec<Label>, ()>| {
            labels.map(|labels| labels.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(label_list(" a, b c ,,")), Ok(vec!["a".into(), "b c".into()]));
        assert_eq!(texts(label_lines("a, b\n\r\n c ")), Ok(vec!["a, b".into(), "c".into()]));
        assert_eq!(texts(label_list("")), Ok(vec![]));
        assert!(label_list(&"x".repeat(65)).is_err());
        assert!(label_list(&"x,".repeat(LABELS_MAX + 1)).is_err());
    }
}
