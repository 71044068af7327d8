//! What is known of a thing, a line each.

use leptos::prelude::*;

/// Terms and their values.
#[component]
pub fn DetailList(
    /// In the order they are shown.
    rows: Vec<(&'static str, String)>,
) -> impl IntoView {
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(term, value)| {
            view! {
                <div>
                    <dt>{term}</dt>
                    <dd>{value}</dd>
                </div>
            }
        })
        .collect();
    view! { <dl class="details">{rows}</dl> }
}
