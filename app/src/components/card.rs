//! An asset in a grid.

use domain::{AssetKind, Thumb};
use leptos::prelude::*;

use crate::{api::Card, format};

/// How wide a card's picture is, for the choice between the two thumbnails; see `.asset-grid`.
const SIZES: &str = "(min-width: 2400px) 340px, (min-width: 700px) 240px, 46vw";

/// Whether an asset of a list can be ticked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticking {
    /// A form around the list changes those that are ticked.
    Offered,
    /// The list is only looked at.
    None,
}

/// One asset as a link to its page.
#[component]
pub fn AssetCard(
    /// What to show.
    card: Card,
    /// Whether it can be ticked.
    ticking: Ticking,
) -> impl IntoView {
    let id = card.id.to_string();
    let href = format!("/assets/{id}");
    let duration = card.duration_ms.map(format::duration);
    let badge = match (card.recording, card.kind, duration) {
        (true, ..) => Some("recording".to_owned()),
        (false, AssetKind::Image, _) => None,
        (false, kind, Some(duration)) => Some(format!("{} {duration}", kind.as_str())),
        (false, kind, None) => Some(kind.as_str().to_owned()),
    }
    .map(|text| view! { <span class="badge">{text}</span> });
    // Beside the link, not in it, and outside of what is left out while it is out of sight: the bar
    // below the list counts the ticks.
    let tick = (ticking == Ticking::Offered).then(|| {
        view! {
            <input
                class="tick"
                type="checkbox"
                name="ids[]"
                value=id.clone()
                aria-label=format!("Select {}", card.name)
                autocomplete="off"
                data-testid="tick"
            />
        }
    });
    let failures: Vec<_> = card
        .failures
        .into_iter()
        .map(|reason| view! { <span class="card-failure">{reason}</span> })
        .collect();
    view! {
        <li class="card-cell">
            {tick}
            <a class="card" href=href data-testid="asset-card" data-asset-id=id>
                <span class="card-picture">
                    <Picture
                        thumb=card.thumb
                        tint=card.tint
                        kind=card.kind
                        name=card.name.clone()
                        width_px=card.width_px
                    />
                    {badge}
                </span>
                <span class="card-name" title=card.name.clone()>
                    {card.name.clone()}
                </span>
                <span class="card-folder">{card.folder}</span>
                {failures}
            </a>
        </li>
    }
}

/// `srcset` of the two thumbnails. Their widths are `width_px` and twice that, unless the original
/// was too small for it.
fn srcset(url_320: &str, url_640: &str, width_px: u32, original_width_px: Option<u32>) -> String {
    let wide_px = width_px.saturating_mul(2).min(original_width_px.unwrap_or(u32::MAX));
    if wide_px > width_px {
        format!("{url_320} {width_px}w, {url_640} {wide_px}w")
    } else {
        format!("{url_320} {width_px}w")
    }
}

#[component]
fn Picture(
    thumb: Thumb,
    tint: Option<String>,
    kind: AssetKind,
    name: String,
    width_px: Option<u32>,
) -> impl IntoView {
    match thumb {
        Thumb::Ready { url_320, url_640, width_px: thumb_width_px, height_px } => {
            let srcset = srcset(&url_320, &url_640, thumb_width_px, width_px);
            view! {
                <Tint color=tint width_px=thumb_width_px height_px />
                <img
                    loading="lazy"
                    decoding="async"
                    width=thumb_width_px
                    height=height_px
                    sizes=SIZES
                    srcset=srcset
                    src=url_320
                    alt=name
                />
            }
            .into_any()
        }
        Thumb::Pending => view! {
            <span class="thumb-blank thumb-pending" data-thumb="pending">
                "Preparing…"
            </span>
        }
        .into_any(),
        Thumb::Failed { reason } => view! {
            <span class="thumb-blank thumb-failed" data-thumb="failed" title=reason>
                <KindIcon kind />
                "No preview"
            </span>
        }
        .into_any(),
        Thumb::None => view! {
            <span class="thumb-blank" data-thumb="none">
                <KindIcon kind />
            </span>
        }
        .into_any(),
    }
}

/// A picture's colour, of its shape and behind it, until it has loaded. An attribute, not a style: the
/// policy of every page allows no styles in it.
#[component]
pub fn Tint(
    /// `#rrggbb`.
    color: Option<String>,
    /// Width of the picture, or anything of the same ratio.
    width_px: u32,
    /// Height to that.
    height_px: u32,
) -> impl IntoView {
    color.map(|color| {
        view! {
            <svg
                class="tint"
                viewBox=format!("0 0 {width_px} {height_px}")
                fill=color
                aria-hidden="true"
            >
                <rect width="100%" height="100%" />
            </svg>
        }
    })
}

/// The sign of a kind of asset.
#[component]
pub fn KindIcon(
    /// Which.
    kind: AssetKind,
) -> impl IntoView {
    let path = match kind {
        AssetKind::Image => "M4 5h16v14H4zM6 17h12l-4-6-3 4-2-2zM9 10a1.5 1.5 0 1 0-.01 0z",
        AssetKind::Video => "M4 5h16v14H4zM10 8.5v7l6-3.5z",
        AssetKind::Audio => "M9 18a3 3 0 1 1-2-2.8V5l11-2v12a3 3 0 1 1-2-2.8V7.6L9 9z",
        AssetKind::Other => "M6 3h8l4 4v14H6zM13 4v4h4z",
    };
    view! {
        <svg class="kind-icon" viewBox="0 0 24 24" role="img" aria-label=kind.as_str()>
            <path fill-rule="evenodd" d=path />
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srcset_never_claims_more_pixels_than_there_are() {
        assert_eq!(srcset("/s", "/l", 320, Some(4_000)), "/s 320w, /l 640w");
        assert_eq!(srcset("/s", "/l", 180, Some(1_080)), "/s 180w, /l 360w");
        assert_eq!(srcset("/s", "/l", 320, Some(400)), "/s 320w, /l 400w");
        assert_eq!(srcset("/s", "/l", 200, Some(200)), "/s 200w");
        assert_eq!(srcset("/s", "/l", 320, None), "/s 320w, /l 640w");
    }
}
