//! `/assets/upload`: brings files into the library; a plain form for small ones without JavaScript.

use domain::{Role, Upload};
use leptos::{html, prelude::*};
use leptos_router::hooks::use_query_map;

use crate::{
    api::{self, PageError},
    browser::{Row, Uploader},
    components::{Back, Loaded},
    format,
    state::upload::refused_form,
};

/// `/assets/upload`
#[component]
pub fn UploadPage() -> impl IntoView {
    let outcome = api::read(String::new, |_| async move {
        let session = api::read_session().await?;
        if session.role.includes(Role::Operator) { Ok(()) } else { Err(PageError::Forbidden) }
    });
    view! {
        <Back href="/assets" to="Assets" />
        <Loaded outcome title="Upload" show=|()| view! { <UploadView /> }.into_any() />
    }
}

#[component]
fn UploadView() -> impl IntoView {
    let rows = RwSignal::new(Vec::<Row>::new());
    let unfinished = RwSignal::new(Vec::<Upload>::new());
    let uploader = Uploader::new(rows, unfinished);
    on_cleanup(move || uploader.close());
    let folder = NodeRef::<html::Input>::new();
    let input = NodeRef::<html::Input>::new();
    let is_over = RwSignal::new(false);
    // The button is for pages where choosing a file does not send it.
    let has_script = RwSignal::new(false);
    Effect::new(move |_| {
        has_script.set(true);
        // What was chosen before this page came to life.
        uploader.take_chosen(input, folder);
    });
    let query = use_query_map();
    let refused = move || {
        let query = query.read();
        let count = |key| query.get_str(key).and_then(|count| count.parse().ok()).unwrap_or(0);
        Some(refused_form(query.get_str("refused")?, count("added"), count("left")))
    };
    view! {
        <header class="page-head">
            <h1>"Upload"</h1>
        </header>
        <form
            class="form upload-drop"
            class:is-over=is_over
            method="post"
            action="/api/uploads/form"
            enctype="multipart/form-data"
            data-testid="upload-drop"
            on:dragover=move |event| {
                event.prevent_default();
                is_over.set(true);
            }
            on:dragleave=move |_| is_over.set(false)
            on:drop=move |event| {
                event.prevent_default();
                is_over.set(false);
                uploader.take_dropped(&event, folder);
            }
            on:submit=move |event| {
                event.prevent_default();
                uploader.take_chosen(input, folder);
            }
        >
            {move || {
                refused()
                    .map(|text| {
                        view! {
                            <p class="form-error" role="alert" data-testid="upload-refused">
                                {text}
                            </p>
                        }
                    })
            }}
            <p class="field">
                <label for="upload-folder">"Folder"</label>
                <input
                    id="upload-folder"
                    name="folder"
                    maxlength="1024"
                    placeholder="takes/monday"
                    autocomplete="off"
                    node_ref=folder
                    data-testid="upload-folder"
                />
            </p>
            <p class="field">
                <label for="upload-files">"Pictures, videos and sounds"</label>
                <input
                    id="upload-files"
                    class="upload-files"
                    type="file"
                    name="file"
                    multiple
                    node_ref=input
                    data-testid="upload-files"
                    on:change=move |_| {
                        uploader.take_chosen(input, folder);
                    }
                />
            </p>
            <p class="hint">
                {move || match has_script.get() {
                    true => "Or drop them here. They go on after a break: choose the same file again.",
                    false => "Up to 32 MB at a time. With JavaScript files may be of any size.",
                }}
            </p>
            <p class="form-actions" hidden=has_script>
                <button class="button primary" type="submit" data-testid="upload-submit">
                    "Upload"
                </button>
            </p>
        </form>
        <ul class="upload-list" data-testid="upload-list">
            <For
                each=move || rows.get()
                key=|row| row.key
                children=move |row| view! { <FileRow row uploader /> }
            />
        </ul>
        <UnfinishedList unfinished uploader />
    }
}

#[component]
fn FileRow(row: Row, uploader: Uploader) -> impl IntoView {
    let (key, seen) = (row.key, row.seen);
    let state = Memo::new(move |_| seen.with(|seen| seen.state));
    let is_over = move || matches!(state.get(), "done" | "failed");
    let is_resting = move || matches!(state.get(), "paused" | "failed");
    let is_ending = move || state.get() == "ending";
    let remove_label = move || if is_over() { "Take off the list" } else { "Cancel" };
    let resume_label = move || if state.get() == "failed" { "Try again" } else { "Go on" };
    let (name, data_name) = (row.name.clone(), row.name);
    let place = if row.folder.is_empty() { "At the top".to_owned() } else { row.folder };
    view! {
        <li class="upload" data-testid="upload" data-state=state data-name=data_name>
            <p class="upload-name">
                {move || {
                    let href = seen
                        .with(|seen| seen.asset.as_ref().map(|asset| format!("/assets/{asset}")));
                    let name = name.clone();
                    match href {
                        Some(href) => view! { <a href=href>{name}</a> }.into_any(),
                        None => view! { <span>{name}</span> }.into_any(),
                    }
                }} <span class="hint">{place}</span>
            </p>
            <progress
                class="upload-progress"
                max=row.size_bytes
                prop:value=move || seen.with(|seen| seen.done_bytes)
                aria-label="Progress"
            ></progress>
            <p class="upload-text" role="status" data-testid="upload-text">
                {move || seen.with(|seen| seen.text.clone())}
            </p>
            <p class="upload-actions">
                <button
                    class="button"
                    type="button"
                    hidden=move || is_over() || is_resting() || is_ending()
                    data-testid="upload-pause"
                    on:click=move |_| uploader.pause(key)
                >
                    "Pause"
                </button>
                <button
                    class="button"
                    type="button"
                    hidden=move || !is_resting()
                    data-testid="upload-resume"
                    on:click=move |_| uploader.resume(key)
                >
                    {resume_label}
                </button>
                <button
                    class="button"
                    type="button"
                    disabled=is_ending
                    data-testid="upload-remove"
                    on:click=move |_| uploader.remove(key)
                >
                    {remove_label}
                </button>
            </p>
        </li>
    }
}

/// Uploads that the server knows of and no file on this page is for.
#[component]
fn UnfinishedList(unfinished: RwSignal<Vec<Upload>>, uploader: Uploader) -> impl IntoView {
    let row = move |upload: Upload| {
        let id = upload.id.clone();
        let (size, data_name) = (format::bytes(upload.size_bytes), upload.name.clone());
        let text = match upload.reason {
            Some(reason) => reason,
            None => format!("{size}, begun {}", format::date(upload.created_at)),
        };
        view! {
            <li class="upload" data-testid="unfinished" data-name=data_name>
                <p class="upload-name">
                    {upload.name} <span class="hint">{upload.folder}</span>
                </p>
                <p class="upload-text">{text}</p>
                <p class="upload-actions">
                    <button
                        class="button"
                        type="button"
                        data-testid="unfinished-abort"
                        on:click=move |_| uploader.abort_unfinished(id.clone())
                    >
                        "Discard"
                    </button>
                </p>
            </li>
        }
    };
    view! {
        <section hidden=move || unfinished.with(Vec::is_empty) class="upload-unfinished">
            <h2>"Unfinished"</h2>
            <p class="hint">"Choose the same file again to go on where it stopped."</p>
            <ul class="upload-list">
                <For
                    each=move || unfinished.get()
                    // Another reason is another row.
                    key=|upload| (upload.id.clone(), upload.reason.clone())
                    children=row
                />
            </ul>
        </section>
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_its_name_and_no_inline_style() {
        let html = Owner::new().with(|| {
            let row = Row::new("a <b>.mp4".into(), "takes".into(), 1_000);
            let uploader = Uploader::new(RwSignal::new(Vec::new()), RwSignal::new(Vec::new()));
            view! { <FileRow row uploader /> }.to_html()
        });
        assert!(html.contains("a &lt;b&gt;.mp4") && html.contains("takes"), "{html}");
        assert!(!html.contains(" style="), "{html}");
    }
}
