//! An asset to look at or to listen to.

use domain::{Asset, AssetKind, Rendition, RenditionKind, Thumb};
use leptos::{html, prelude::*};

use crate::{
    browser::{MediaPlayer, PlayerParts},
    components::{KindIcon, Tint},
    state::sources::Trouble,
};

/// Longer originals are shown by their thumbnail; the original is a click away.
const INLINE_MAX_BYTES: u64 = 32 << 20;

/// Browsers show these; others, such as TIFF, only as a thumbnail.
fn is_web_picture(mime: &str) -> bool {
    matches!(
        mime,
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" | "image/avif" | "image/bmp"
    )
}

/// Whether the page shows a picture by its thumbnail, not by its original.
pub(super) fn is_shown_by_thumb(asset: &Asset) -> bool {
    let inline = is_web_picture(&asset.mime) && asset.size_bytes <= INLINE_MAX_BYTES;
    asset.kind == AssetKind::Image && !inline
}

/// Whether browsers play the original, as far as its container and codec say.
fn is_web_video(asset: &Asset) -> bool {
    let codec = asset.codec.as_deref();
    match asset.mime.as_str() {
        "video/mp4" => matches!(codec, None | Some("h264" | "vp9" | "av1")),
        "video/webm" => matches!(codec, None | Some("vp8" | "vp9" | "av1")),
        _ => false,
    }
}

fn rendition(asset: &Asset, kind: RenditionKind) -> Option<&Rendition> {
    asset.renditions.iter().find(|rendition| rendition.kind == kind)
}

/// What to play, the best first: the original where browsers play it, else a proxy.
fn sources(asset: &Asset) -> Vec<String> {
    let original = format!("/api/assets/{}/original", asset.id);
    let proxies = [RenditionKind::Proxy1080p, RenditionKind::Proxy720p]
        .into_iter()
        .filter_map(|kind| Some(rendition(asset, kind)?.url.clone()));
    let mut sources: Vec<String> = proxies.collect();
    let at = if asset.kind == AssetKind::Audio || is_web_video(asset) { 0 } else { sources.len() };
    sources.insert(at, original);
    sources
}

fn player_parts(asset: &Asset) -> PlayerParts {
    let url = |kind| rendition(asset, kind).map(|rendition| rendition.url.clone());
    PlayerParts {
        sources: sources(asset),
        storyboard: url(RenditionKind::Storyboard).zip(url(RenditionKind::StoryboardVtt)),
        waveform: url(RenditionKind::Waveform).filter(|_| asset.kind == AssetKind::Audio),
    }
}

/// The asset itself, or why it is not to be seen.
#[component]
pub(super) fn Stage(asset: Asset, tint: Option<String>) -> impl IntoView {
    let thumb_640 = match &asset.thumb {
        Thumb::Ready { url_640, .. } => Some(url_640.clone()),
        Thumb::Pending | Thumb::Failed { .. } | Thumb::None => None,
    };
    match asset.kind {
        AssetKind::Video | AssetKind::Audio => view! { <Player asset thumb_640 /> }.into_any(),
        AssetKind::Image => {
            let original = format!("/api/assets/{}/original", asset.id);
            // What could not be decoded here is not left to the browser: it shows the reason instead.
            let has_failed = matches!(asset.thumb, Thumb::Failed { .. });
            let src = match has_failed || is_shown_by_thumb(&asset) {
                true => thumb_640,
                false => Some(original.clone()),
            };
            match src {
                Some(src) => view! {
                    <a class="asset-picture" href=original rel="external" title="Open the original">
                        {asset
                            .width_px
                            .zip(asset.height_px)
                            .map(|(width_px, height_px)| {
                                view! { <Tint color=tint width_px height_px /> }
                            })}
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
fn Player(asset: Asset, thumb_640: Option<String>) -> impl IntoView {
    let parts = player_parts(&asset);
    let src = parts.sources.first().cloned();
    let stage = NodeRef::<html::Div>::new();
    let trouble = RwSignal::new(None::<Trouble>);
    let scrub = parts.storyboard.is_some().then(|| {
        view! {
            // Only for pointers: the player's own controls are there for everyone.
            <div class="scrub" aria-hidden="true" hidden data-testid="scrub">
                <div class="scrub-picture" hidden data-testid="scrub-picture">
                    <span class="scrub-time"></span>
                </div>
            </div>
        }
    });
    let waveform = parts.waveform.is_some().then(|| {
        view! {
            <svg
                class="waveform"
                viewBox="0 0 1 256"
                preserveAspectRatio="none"
                aria-hidden="true"
                hidden
                data-testid="waveform"
            >
                <rect class="waveform-played" width="0" height="256" />
                <path />
            </svg>
        }
    });
    let media = if asset.kind == AssetKind::Video {
        let poster = rendition(&asset, RenditionKind::Poster).map(|poster| poster.url.clone());
        view! {
            <video
                class="asset-video"
                controls
                preload="metadata"
                playsinline
                poster=poster.or(thumb_640)
                src=src
                width=asset.width_px
                height=asset.height_px
                data-testid="asset-player"
            ></video>
            {scrub}
        }
        .into_any()
    } else {
        view! {
            <div class="asset-sound">
                <KindIcon kind=asset.kind />
                {waveform}
                <audio controls preload="metadata" src=src data-testid="asset-player"></audio>
            </div>
        }
        .into_any()
    };
    let player = MediaPlayer::new(stage, parts, trouble);
    on_cleanup(move || player.close());
    view! {
        <div class="asset-player" node_ref=stage>
            {media}
            <p
                class="player-trouble"
                role="alert"
                hidden=move || trouble.get().is_none()
                data-testid="player-trouble"
            >
                {move || trouble.get().map(Trouble::text)}
            </p>
        </div>
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
