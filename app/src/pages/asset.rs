//! `/assets/{id}`: one asset, to look at, to download and to change.

mod derived;
mod edit;
mod stage;

use domain::{Asset, Role, Thumb};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_params_map};

use self::{
    derived::{DerivedView, MetadataView},
    edit::{EditAsset, PurgeForm, TrashForm},
    stage::{Stage, is_shown_by_thumb},
};
use crate::{
    address::ListAddress,
    api::{self, AssetDetail},
    components::{Back, DetailList, Loaded, NoticeBar},
    format,
    refresh::{follow_jobs, refresh_unless_held},
};

/// `/assets/{id}`
#[component]
pub fn AssetPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let search = use_location().search;
    let notice = move || {
        let notice = search.with(|search| ListAddress::parse("/assets", search).notice);
        view! { <NoticeBar notice back=format!("/assets/{}", id.get_untracked()) /> }
    };
    let outcome = api::read(move || id.get(), api::find_asset);
    // Apart from the asset: it changes while a film plays, which must not begin anew.
    let derived = api::read(move || id.get(), api::read_derived);
    let editing = RwSignal::new(false);
    refresh_unless_held(
        outcome,
        |detail| detail.asset.thumb == Thumb::Pending && is_shown_by_thumb(&detail.asset),
        move || editing.get_untracked(),
    );
    let may_listen = move || {
        outcome.with(
            |outcome| matches!(outcome, Some(Ok(detail)) if detail.role.includes(Role::Operator)),
        )
    };
    follow_jobs(derived, may_listen, || false);
    view! {
        {notice}
        <Back href="/assets" to="Assets" />
        <Loaded
            outcome
            title="Asset"
            show=move |detail| {
                let role = detail.role;
                let found = move || {
                    let metadata = derived.get()?.ok()?.metadata;
                    Some(view! { <MetadataView metadata /> })
                };
                view! {
                    <AssetView detail editing found=found.into_any()>
                        {move || {
                            let derived = derived.get()?.ok()?;
                            Some(view! { <DerivedView derived role /> })
                        }}
                    </AssetView>
                }
                    .into_any()
            }
        />
    }
}

#[component]
fn AssetView(
    detail: AssetDetail,
    /// Whether somebody is about to change it.
    editing: RwSignal<bool>,
    /// What it says of itself.
    found: AnyView,
    /// What is derived from it.
    children: Children,
) -> impl IntoView {
    let AssetDetail { asset, role, .. } = &detail;
    let download = format!("/api/assets/{}/original?download=1", asset.id);
    let may_change = role.includes(Role::Operator);
    let details = details(asset);
    let name = asset.name.clone();
    let stage = asset.clone();
    let labels = labels(asset);
    let trash = may_change.then(|| {
        view! { <TrashForm id=asset.id.to_string() is_trashed=asset.trashed_at.is_some() /> }
    });
    let purge = (asset.trashed_at.is_some() && role.includes(Role::Admin))
        .then(|| view! { <PurgeForm id=asset.id.to_string() /> });
    let edit = may_change.then(|| view! { <EditAsset detail=detail.clone() /> });
    let trashed = asset.trashed_at.map(|at| {
        view! {
            <p class="form-error" data-testid="in-trash">
                {format!("In the trash since {}.", format::date(at))}
            </p>
        }
    });
    view! {
        <Title text=name.clone() />
        <article class="asset">
            <div class="asset-stage">
                <Stage asset=stage tint=detail.tint />
            </div>
            <div class="asset-side">
                <h1 class="asset-title" data-testid="asset-title">
                    {name}
                </h1>
                {trashed}
                <div class="asset-actions">
                    <a class="button primary" href=download download="" data-testid="download">
                        "Download"
                    </a>
                    {trash}
                </div>
                {purge}
                {labels}
                <DetailList rows=details />
                {found}
                <div on:focusin=move |_| editing.set(true)>{edit}</div>
                {children()}
            </div>
        </article>
    }
}

/// Labels, each with the list of those that bear it.
fn labels(asset: &Asset) -> AnyView {
    if asset.labels.is_empty() {
        return ().into_any();
    }
    let labels: Vec<_> = asset
        .labels
        .iter()
        .map(|label| {
            let tags = label.parse().into_iter().collect();
            let filter = domain::AssetFilter { tags, ..Default::default() };
            view! {
                <li>
                    <a class="filter-chip" href=format!("/assets?{}", filter.to_query())>
                        <span class="filter-chip-text">{label.clone()}</span>
                    </a>
                </li>
            }
        })
        .collect();
    view! {
        <ul class="chip-list" aria-label="Labels" data-testid="labels">
            {labels}
        </ul>
    }
    .into_any()
}

/// What is known of an asset, in the order it is shown.
fn details(asset: &Asset) -> Vec<(&'static str, String)> {
    let some = |term, value: Option<String>| {
        value.filter(|value| !value.is_empty()).map(|value| (term, value))
    };
    let dimensions = asset
        .width_px
        .zip(asset.height_px)
        .map(|(width_px, height_px)| format::dimensions(width_px, height_px));
    [
        Some(("Type", asset.mime.clone())),
        some("Codec", asset.codec.clone()),
        Some(("Size", format::bytes(asset.size_bytes))),
        some("Dimensions", dimensions),
        some("Duration", asset.duration_ms.map(format::duration)),
        Some(("Date", format::date(asset.created_at))),
        some("Camera", asset.camera.as_ref().map(ToString::to_string)),
        some("Folder", Some(asset.folder.clone())),
        some("Came from", asset.source_node.clone()),
        some("Original path", asset.origin_path.clone()),
        some("Reference", asset.external_ref.clone()),
        Some(("Id", asset.id.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests;
