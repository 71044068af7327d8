//! What became of the form that led here.

use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::api::{Notice, UndoTrash};

/// One sentence, and the way to take it back if there is one.
#[component]
pub fn NoticeBar(
    /// What the address carries.
    notice: Option<Notice>,
    /// The page that it is shown on.
    #[prop(into)]
    back: String,
) -> impl IntoView {
    notice.map(|notice| {
        let role = if notice.is_error() { "alert" } else { "status" };
        let undo = notice.undo.map(|undo| {
            view! {
                <form method="post" action=UndoTrash::PATH>
                    <input type="hidden" name="undo" value=undo.to_string() />
                    <input type="hidden" name="back" value=back.clone() />
                    <button class="button" type="submit" data-testid="undo">
                        "Undo"
                    </button>
                </form>
            }
        });
        let dismiss = view! {
            <a class="button" href=back data-testid="dismiss">
                "OK"
            </a>
        };
        view! {
            <div class="flash" class:flash-error=notice.is_error() data-testid="notice">
                <p role=role>{notice.text()}</p>
                {undo}
                {dismiss}
            </div>
        }
    })
}
