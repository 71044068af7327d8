//! `/assets/{id}`: one asset, to look at and to download.

use domain::{Asset, AssetKind, Thumb};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::refresh::refresh_while;
use crate::{
    api::{self, PageError},
    components::{ErrorNotice, KindIcon},
    format,
};

/// Longer originals are shown by their thumbnail; the original is a click away.
const INLINE_MAX_BYTES: u64 = 32 << 20;

/// `/assets/{id}`
#[component]
pub fn AssetPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let outcome = Resource::new(move || id.get(), api::find_asset);
    refresh_while(outcome, |asset| asset.thumb == Thumb::Pending && is_shown_by_thumb(asset));
    view! {
        <p class="back">
            <a href="/assets">"← Assets"</a>
        </p>
        <Transition fallback=|| {
            view! { <p class="loading">"Loading…"</p> }
        }>
            {move || {
                outcome
                    .get()
                    .map(|outcome| match outcome {
                        Ok(asset) => view! { <AssetView asset /> }.into_any(),
                        Err(PageError::NotFound) => view! { <NoSuchAsset /> }.into_any(),
                        Err(error) => {
                            view! {
                                <Title text="Asset" />
                                <ErrorNotice error />
                            }
                                .into_any()
                        }
                    })
            }}
        </Transition>
    }
}

#[component]
fn NoSuchAsset() -> impl IntoView {
    view! {
        <Title text="No such asset" />
        <section class="notice">
            <h1>"No such asset"</h1>
            <p>"It may have been removed, or the address is incomplete."</p>
        </section>
    }
}

#[component]
fn AssetView(asset: Asset) -> impl IntoView {
    let download = format!("/api/assets/{}/original?download=1", asset.id);
    let details = details(&asset)
        .into_iter()
        .map(|(term, value)| {
            view! {
                <div>
                    <dt>{term}</dt>
                    <dd>{value}</dd>
                </div>
            }
        })
        .collect::<Vec<_>>();
    view! {
        <Title text=asset.name.clone() />
        <article class="asset">
            <div class="asset-stage">
                <Stage asset=asset.clone() />
            </div>
            <div class="asset-side">
                <h1 class="asset-title" data-testid="asset-title">
                    {asset.name.clone()}
                </h1>
                <p>
                    <a class="button primary" href=download download="" data-testid="download">
                        "Download"
                    </a>
                </p>
                <dl class="details">{details}</dl>
            </div>
        </article>
    }
}

/// Browsers show these; others, such as TIFF, only as a thumbnail.
fn is_web_picture(mime: &str) -> bool {
    matches!(
        mime,
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" | "image/avif" | "image/bmp"
    )
}

/// Whether the page shows a picture by its thumbnail, not by its original.
fn is_shown_by_thumb(asset: &Asset) -> bool {
    let inline = is_web_picture(&asset.mime) && asset.size_bytes <= INLINE_MAX_BYTES;
    asset.kind == AssetKind::Image && !inline
}

#[component]
fn Stage(asset: Asset) -> impl IntoView {
    let original = format!("/api/assets/{}/original", asset.id);
    let thumb_640 = match &asset.thumb {
        Thumb::Ready { url_640, .. } => Some(url_640.clone()),
        Thumb::Pending | Thumb::Failed { .. } | Thumb::None => None,
    };
    match asset.kind {
        AssetKind::Video => view! {
            <video
                class="asset-video"
                controls
                preload="metadata"
                playsinline
                poster=thumb_640
                src=original
                width=asset.width_px
                height=asset.height_px
                data-testid="asset-player"
            ></video>
        }
        .into_any(),
        AssetKind::Audio => view! {
            <div class="asset-sound">
                <KindIcon kind=asset.kind />
                <audio controls preload="metadata" src=original data-testid="asset-player"></audio>
            </div>
        }
        .into_any(),
        AssetKind::Image => {
            let src = if is_shown_by_thumb(&asset) { thumb_640 } else { Some(original.clone()) };
            match src {
                Some(src) => view! {
                    <a class="asset-picture" href=original rel="external" title="Open the original">
                        <img
                            src=src
                            alt=asset.name
                            width=asset.width_px
                            height=asset.height_px
                            decoding="async"
                            data-testid="asset-image"
                        />
                    </a>
                }
                .into_any(),
                None => view! { <NoPreview asset /> }.into_any(),
            }
        }
        AssetKind::Other => view! { <NoPreview asset /> }.into_any(),
    }
}

#[component]
fn NoPreview(asset: Asset) -> impl IntoView {
    let reason = match asset.thumb {
        Thumb::Failed { reason } => format!("No preview: {reason}"),
        Thumb::Pending => "The preview is being made.".to_owned(),
        Thumb::Ready { .. } | Thumb::None => "There is no preview of this kind of file.".to_owned(),
    };
    view! {
        <div class="asset-blank">
            <KindIcon kind=asset.kind />
            <p>{reason}</p>
        </div>
    }
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
        Some(("Size", format::bytes(asset.size_bytes))),
        some("Dimensions", dimensions),
        some("Duration", asset.duration_ms.map(format::duration)),
        Some(("Date", format::date(asset.created_at))),
        some("Folder", Some(asset.folder.clone())),
        some("Labels", Some(asset.labels.join(", "))),
        some("Came from", asset.source_node.clone()),
        some("Original path", asset.origin_path.clone()),
        some("Reference", asset.external_ref.clone()),
        Some(("Id", asset.id.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect()
}
