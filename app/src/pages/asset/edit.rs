//! Changing one asset: plain forms.

use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::{
    api::{AssetDetail, ChangeAssets, PurgeAsset, SaveAsset},
    components::ConfirmedForm,
};

/// Deletes an asset that is in the trash.
#[component]
pub(super) fn PurgeForm(id: String) -> impl IntoView {
    view! {
        <ConfirmedForm
            action=PurgeAsset::PATH
            label="Delete for good"
            warning="The original goes, and all that was made from it. There is no undo."
            confirm="Yes, delete it"
        >
            <input type="hidden" name="id" value=id />
            <input type="hidden" name="back" value="/assets/trash" />
        </ConfirmedForm>
    }
}

/// Into the trash, or out of it.
#[component]
pub(super) fn TrashForm(id: String, is_trashed: bool) -> impl IntoView {
    let (action, label, class) = match is_trashed {
        true => ("restore", "Restore", "button"),
        false => ("trash", "Trash", "button danger"),
    };
    view! {
        <form method="post" action=ChangeAssets::PATH>
            <input type="hidden" name="back" value=format!("/assets/{id}") />
            <input type="hidden" name="ids[]" value=id />
            <button class=class type="submit" name="action" value=action data-testid="asset-trash">
                {label}
            </button>
        </form>
    }
}

/// Name, folder, labels; collections.
#[component]
pub(super) fn EditAsset(detail: AssetDetail) -> impl IntoView {
    let AssetDetail { asset, collections, member_of, .. } = detail;
    let id = asset.id.to_string();
    let back = format!("/assets/{id}");
    let members: Vec<_> = collections
        .iter()
        .filter(|one| member_of.contains(&one.id))
        .map(|one| {
            let title = one.title.clone();
            view! {
                <li class="side-kept">
                    <a class="side-row" href=format!("/assets/collections/{}", one.id)>
                        <span class="side-name">{title.clone()}</span>
                    </a>
                    <form method="post" action=ChangeAssets::PATH>
                        <input type="hidden" name="back" value=back.clone() />
                        <input type="hidden" name="ids[]" value=id.clone() />
                        <button
                            class="icon-button"
                            type="submit"
                            name="action"
                            value=format!("take_out.{}", one.id)
                            aria-label=format!("Take out of {title}")
                            data-testid="leave-collection"
                        >
                            "×"
                        </button>
                    </form>
                </li>
            }
        })
        .collect();
    let others: Vec<_> = collections
        .iter()
        .filter(|one| !member_of.contains(&one.id))
        .map(|one| view! { <option value=one.id.to_string()>{one.title.clone()}</option> })
        .collect();
    let join = (!others.is_empty()).then(|| {
        view! {
            <form class="line-form" method="post" action=ChangeAssets::PATH>
                <input type="hidden" name="back" value=back.clone() />
                <input type="hidden" name="ids[]" value=id.clone() />
                <select name="collection" aria-label="Collection" data-testid="join-collection">
                    {others}
                </select>
                <button class="button" type="submit" data-testid="join-submit">
                    "Add to it"
                </button>
            </form>
        }
    });
    let none = collections.is_empty().then(|| {
        view! {
            <p class="hint">
                "There are no collections yet. "<a href="/assets/collections">"Make one"</a>
            </p>
        }
    });
    view! {
        <details class="asset-section" data-testid="edit">
            <summary class="button">"Rename, move, label"</summary>
            <form class="form" method="post" action=SaveAsset::PATH data-testid="edit-form">
                <input type="hidden" name="id" value=id.clone() />
                <input type="hidden" name="back" value=back.clone() />
                <div class="field">
                    <label for="asset-name">"Name"</label>
                    <input
                        id="asset-name"
                        name="name"
                        value=asset.name
                        required
                        maxlength="255"
                        autocomplete="off"
                    />
                </div>
                <div class="field">
                    <label for="asset-folder">"Folder"</label>
                    <input
                        id="asset-folder"
                        name="folder"
                        value=asset.folder
                        maxlength="1024"
                        autocomplete="off"
                        placeholder="the top"
                    />
                </div>
                <div class="field">
                    <label for="asset-labels">"Labels, one on each line"</label>
                    <textarea id="asset-labels" name="labels" rows="3" autocomplete="off">
                        {asset.labels.join("\n")}
                    </textarea>
                </div>
                <p class="form-actions">
                    <button class="button primary" type="submit" data-testid="save-asset">
                        "Save"
                    </button>
                </p>
            </form>
        </details>
        <section class="asset-section" data-testid="collections">
            <h2>"Collections"</h2>
            <ul class="side-list">{members}</ul>
            {join}
            {none}
        </section>
    }
}
