//! A form that cannot be sent by one slip of the finger. Works without JavaScript.

use leptos::prelude::*;

/// A button that shows what it would do, and the button that does it.
#[component]
pub fn ConfirmedForm(
    /// Where the form goes.
    action: &'static str,
    /// On the first button.
    label: &'static str,
    /// What will happen.
    warning: &'static str,
    /// On the second button.
    confirm: &'static str,
    /// Fields that go with it.
    children: Children,
) -> impl IntoView {
    view! {
        <details class="inline-details" data-testid="to-confirm">
            <summary class="button danger">{label}</summary>
            <form class="form" method="post" action=action>
                {children()}
                <p>{warning}</p>
                <p>
                    <button class="button danger" type="submit" data-testid="confirm">
                        {confirm}
                    </button>
                </p>
            </form>
        </details>
    }
}
