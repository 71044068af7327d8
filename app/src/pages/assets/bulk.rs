//! What may be done to the assets of a list that are ticked: one form around the list.

use domain::{AssetQuery, Role};
use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::{
    address,
    api::{ChangeAssets, EmptyTrash, Library, RetryJobs},
    browser::Selection,
    components::ConfirmedForm,
};

/// The form, around the list. Its bar stands below, and shows once something is ticked.
#[component]
pub(super) fn Bulk(
    query: AssetQuery,
    library: Library,
    selection: Selection,
    children: Children,
) -> impl IntoView {
    let back = address::list_href(&query);
    let filter = &query.filter;
    let has_script = RwSignal::new(false);
    Effect::new(move |_| has_script.set(true));
    let for_all = match (filter.trashed, filter.failed) {
        (true, _) if library.role.includes(Role::Admin) => {
            view! { <EmptyTrashForm back=back.clone() /> }.into_any()
        }
        (false, true) => view! { <RetryAllForm back=back.clone() /> }.into_any(),
        _ => ().into_any(),
    };
    let actions = if filter.trashed {
        view! {
            <button
                class="button primary"
                type="submit"
                name="action"
                value="restore"
                data-testid="bulk-restore"
            >
                "Restore"
            </button>
        }
        .into_any()
    } else {
        view! { <Changes query=query.clone() library /> }.into_any()
    };
    view! {
        {for_all}
        <form class="bulk-form" method="post" action=ChangeAssets::PATH data-testid="bulk-form">
            <input type="hidden" name="back" value=back />
            {children()}
            <div class="bulk" role="group" aria-label="Selected assets" data-testid="bulk">
                <p class="bulk-count">" selected"</p>
                {actions}
                <button class="button" type="reset" data-testid="bulk-clear">
                    "Clear"
                </button>
                <button
                    class="button"
                    type="button"
                    hidden=move || !has_script.get()
                    data-testid="bulk-all"
                    on:click=move |event| selection.all(&event)
                >
                    "All on this page"
                </button>
            </div>
        </form>
    }
}

#[component]
fn Changes(query: AssetQuery, library: Library) -> impl IntoView {
    let take_out = query.filter.collection.map(|id| {
        view! {
            <button
                class="button"
                type="submit"
                name="action"
                value=format!("take_out.{id}")
                data-testid="bulk-take-out"
            >
                "Take out"
            </button>
        }
    });
    let collections = (!library.collections.is_empty()).then(|| {
        let options: Vec<_> = library
            .collections
            .iter()
            .map(|one| {
                view! { <option value=one.id.to_string()>{one.title.clone()}</option> }
            })
            .collect();
        view! {
            <select name="collection" aria-label="Add to collection" data-testid="bulk-collection">
                <option value="">"Collection…"</option>
                {options}
            </select>
        }
    });
    view! {
        <input
            name="label"
            placeholder="Add labels"
            aria-label="Labels to add, with commas between"
            autocomplete="off"
            data-testid="bulk-label"
        />
        <input
            name="unlabel"
            placeholder="Take labels away"
            aria-label="Labels to take away, with commas between"
            autocomplete="off"
            data-testid="bulk-unlabel"
        />
        <input
            name="folder"
            placeholder="Move to folder"
            aria-label="Folder to move to; / is the top"
            autocomplete="off"
            data-testid="bulk-folder"
        />
        {collections}
        <button class="button primary" type="submit" data-testid="bulk-apply">
            "Apply"
        </button>
        {take_out}
        <button
            class="button danger"
            type="submit"
            name="action"
            value="trash"
            data-testid="bulk-trash"
        >
            "Trash"
        </button>
    }
}

#[component]
fn EmptyTrashForm(back: String) -> impl IntoView {
    view! {
        <ConfirmedForm
            action=EmptyTrash::PATH
            label="Empty the trash"
            warning="Everything in it is deleted for good, originals and all. There is no undo."
            confirm="Yes, delete it all"
        >
            <input type="hidden" name="back" value=back />
        </ConfirmedForm>
    }
}

#[component]
fn RetryAllForm(back: String) -> impl IntoView {
    view! {
        <form class="inline-form" method="post" action=RetryJobs::PATH>
            <input type="hidden" name="back" value=back />
            <button class="button" type="submit" data-testid="retry-all">
                "Try all again"
            </button>
        </form>
    }
}
