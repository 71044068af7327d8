//! Changes to many assets at once: labels, folders, trash. Each is one transaction.

use app::ssr::{Admin, Operator};
use axum::{Json, extract::State};
use catalog::{BlobStore, Catalog};
use domain::{AssetId, FolderPath, Label, PAGE_LIMIT_MAX, TrashId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{self, bad_field};
use crate::error::Problem;

/// Most labels added or removed at once.
const MAX_LABELS: usize = 50;

/// Which assets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    /// Their ids, 1 to 500.
    #[schema(value_type = Vec<String>)]
    ids: Vec<AssetId>,
}

/// Labels to be changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelChange {
    /// Ids of the assets, 1 to 500.
    #[schema(value_type = Vec<String>)]
    ids: Vec<AssetId>,
    /// Labels to add.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    add: Vec<Label>,
    /// Labels to take away.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove: Vec<Label>,
}

/// Where to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    /// Ids of the assets, 1 to 500.
    #[schema(value_type = Vec<String>)]
    ids: Vec<AssetId>,
    /// Folder of the library; empty is the top.
    #[schema(value_type = String)]
    folder: FolderPath,
}

/// What was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Changed {
    /// Assets that are other than before; ids that there are none of do not count.
    changed: u64,
}

/// What was put into the trash.
#[derive(Serialize, ToSchema)]
pub(crate) struct Trashed {
    /// To take all of it out again.
    #[schema(value_type = i64)]
    trash_id: TrashId,
}

/// What is to be taken out of the trash: assets, or all that were put there together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restore {
    /// Ids of assets, at most 500.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ids: Vec<AssetId>,
    /// What an earlier answer gave.
    #[schema(value_type = Option<i64>)]
    trash_id: Option<TrashId>,
}

/// How old what is purged has to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    /// Only what has been in the trash for at least so many days; 0 is all of it.
    older_than_days: u32,
}

/// What was purged.
#[derive(Serialize, ToSchema)]
pub(crate) struct Purged {
    /// Objects removed from the blob store.
    objects_removed: u64,
}

fn check_ids(ids: &[AssetId]) -> Result<(), Problem> {
    match ids.len() {
        0 => Err(bad_field("ids", "expected one asset at least")),
        n if n > PAGE_LIMIT_MAX as usize => {
            Err(bad_field("ids", format!("expected {PAGE_LIMIT_MAX} assets at most")))
        }
        _ => Ok(()),
    }
}

/// Label assets
#[utoipa::path(post, path = "/api/assets/labels", tag = "changes", request_body = LabelChange,
    responses((status = 200, body = Changed)))]
pub(crate) async fn labels(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(change): input::Json<LabelChange>,
) -> Result<Json<Changed>, Problem> {
    check_ids(&change.ids)?;
    for (name, labels) in [("add", &change.add), ("remove", &change.remove)] {
        if labels.len() > MAX_LABELS {
            return Err(bad_field(name, format!("expected {MAX_LABELS} labels at most")));
        }
    }
    let mut changed = 0;
    if !change.add.is_empty() {
        changed = catalog.add_labels(&change.ids, &change.add).await?;
    }
    if !change.remove.is_empty() {
        changed = changed.max(catalog.remove_labels(&change.ids, &change.remove).await?);
    }
    Ok(Json(Changed { changed }))
}

/// Move assets to a folder
#[utoipa::path(post, path = "/api/assets/move", tag = "changes", request_body = Move,
    responses((status = 200, body = Changed)))]
pub(crate) async fn move_to_folder(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(body): input::Json<Move>,
) -> Result<Json<Changed>, Problem> {
    check_ids(&body.ids)?;
    Ok(Json(Changed { changed: catalog.move_assets(&body.ids, &body.folder).await? }))
}

/// Put assets into the trash
///
/// They can be taken out again until they are purged. What is in the trash is listed by
/// `GET /api/assets?trashed=1`.
#[utoipa::path(post, path = "/api/assets/trash", tag = "changes", request_body = Selection,
    responses((status = 200, body = Trashed)))]
pub(crate) async fn trash(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(body): input::Json<Selection>,
) -> Result<Json<Trashed>, Problem> {
    check_ids(&body.ids)?;
    let trash_id = catalog.trash(&body.ids).await?;
    Ok(Json(Trashed { trash_id }))
}

/// Take assets out of the trash
#[utoipa::path(post, path = "/api/assets/restore", tag = "changes", request_body = Restore,
    responses((status = 200, body = Changed)))]
pub(crate) async fn restore(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(body): input::Json<Restore>,
) -> Result<Json<Changed>, Problem> {
    let changed = match (body.trash_id, body.ids.is_empty()) {
        (Some(id), true) => catalog.undo_trash(id).await?,
        (None, _) => {
            check_ids(&body.ids)?;
            catalog.restore(&body.ids).await?
        }
        (Some(_), false) => return Err(bad_field("trash_id", "expected either ids or trash_id")),
    };
    Ok(Json(Changed { changed }))
}

/// Empty the trash
///
/// For administrators. Removes assets and their objects for good. 503 while the blob store does not answer.
#[utoipa::path(post, path = "/api/trash/purge", tag = "changes", request_body = Purge,
    responses((status = 200, body = Purged)))]
pub(crate) async fn purge(
    _admin: Admin,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    input::Json(body): input::Json<Purge>,
) -> Result<Json<Purged>, Problem> {
    let age = SignedDuration::from_hours(24 * i64::from(body.older_than_days));
    let older_than = Timestamp::now().checked_sub(age);
    let older_than = older_than.map_err(|_| bad_field("older_than_days", "too many days"))?;
    let objects_removed = catalog::purge_trash(&catalog, &store, older_than).await?;
    Ok(Json(Purged { objects_removed }))
}
