//! `/assets/collections`: every collection; to make one, rename one, remove one.

use domain::{Collection, Role};
use leptos::{prelude::*, server_fn::ServerFn as _};
use leptos_router::hooks::use_location;

use crate::{
    address::ListAddress,
    api::{self, AddCollection, ChangeCollection, Collections},
    components::{Back, Loaded, NoticeBar},
    format,
};

/// `/assets/collections`
#[component]
pub fn CollectionsPage() -> impl IntoView {
    let search = use_location().search;
    let notice = move || search.with(|search| ListAddress::parse("/assets", search).notice);
    let outcome = api::read(String::new, |_| api::list_collections());
    view! {
        {move || view! { <NoticeBar notice=notice() back="/assets/collections" /> }}
        <Back href="/assets" to="Assets" />
        <header class="page-head">
            <h1>"Collections"</h1>
        </header>
        <Loaded
            outcome
            title="Collections"
            show=|collections| view! { <List collections /> }.into_any()
        />
    }
}

#[component]
fn List(collections: Collections) -> impl IntoView {
    let may_change = collections.role.includes(Role::Operator);
    let add = may_change.then(|| {
        view! {
            <form class="line-form" method="post" action=AddCollection::PATH>
                <input type="hidden" name="back" value="/assets/collections" />
                <input
                    name="title"
                    required
                    maxlength="100"
                    placeholder="New collection"
                    aria-label="Title of a new collection"
                    autocomplete="off"
                    data-testid="collection-title"
                />
                <button class="button primary" type="submit" data-testid="add-collection">
                    "Add"
                </button>
            </form>
        }
    });
    let list = if collections.items.is_empty() {
        view! {
            <section class="notice" data-testid="empty-state">
                <h2>"No collections yet"</h2>
                <p>"A collection holds assets that belong together, wherever they lie."</p>
            </section>
        }
        .into_any()
    } else {
        let rows: Vec<_> = collections
            .items
            .into_iter()
            .map(|collection| view! { <Row collection may_change /> })
            .collect();
        view! {
            <ul class="rows" data-testid="collections">
                {rows}
            </ul>
        }
        .into_any()
    };
    view! {
        {add}
        {list}
    }
}

#[component]
fn Row(collection: Collection, may_change: bool) -> impl IntoView {
    let id = collection.id.to_string();
    let change = may_change.then(|| {
        view! {
            <details class="row-details" data-testid="change-collection">
                <summary class="button">"Change"</summary>
                <form class="line-form" method="post" action=ChangeCollection::PATH>
                    <input type="hidden" name="id" value=id.clone() />
                    <input type="hidden" name="back" value="/assets/collections" />
                    <input
                        name="title"
                        value=collection.title.clone()
                        maxlength="100"
                        aria-label="Title"
                        autocomplete="off"
                    />
                    <button class="button primary" type="submit" data-testid="rename-collection">
                        "Rename"
                    </button>
                    <button
                        class="button danger"
                        type="submit"
                        name="action"
                        value="delete"
                        data-testid="delete-collection"
                    >
                        "Delete, keep its assets"
                    </button>
                </form>
            </details>
        }
    });
    view! {
        <li class="row" data-testid="collection-row">
            <div class="row-main">
                <h2 class="row-name">
                    <a href=format!("/assets/collections/{id}")>{collection.title.clone()}</a>
                </h2>
                <p class="row-state">{format::counted(collection.assets, "asset", "assets")}</p>
            </div>
            {change}
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(role: Role) -> String {
        let collection = Collection { id: 7.try_into().unwrap(), title: "A <b>".into(), assets: 1 };
        let collections = Collections { role, items: vec![collection] };
        Owner::new().with(|| view! { <List collections /> }.to_html())
    }

    #[test]
    fn collections_link_to_their_assets_and_are_changed_by_operators() {
        let viewer = html(Role::Viewer);
        assert!(viewer.contains(r#"href="/assets/collections/7""#), "{viewer}");
        assert!(viewer.contains("A &lt;b&gt;") && viewer.contains("1 asset"), "{viewer}");
        assert!(!viewer.contains("<form"), "{viewer}");
        assert!(html(Role::Operator).contains("/fn/collection-change"));
    }
}
