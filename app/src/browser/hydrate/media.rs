//! An asset's player in the browser: signs its link again when it has expired, shows the storyboard
//! under the pointer, and draws the waveform.
//!
//! Must not: decide what to do about a failure (that is [`crate::state::sources`]).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::{html, prelude::*};
use serde::Deserialize;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlElement, HtmlMediaElement, MouseEvent};

use super::dom::{self, Listener};
use crate::{
    browser::PlayerParts,
    format,
    state::{
        sources::{Remedy, Sources},
        storyboard::{Cue, cue_at, parse_storyboard, waveform_path},
    },
};

/// The player of one asset.
#[derive(Clone, Copy, Debug)]
pub struct MediaPlayer(StoredValue<Vec<Listener>, LocalStorage>);

impl MediaPlayer {
    /// Watches over the player in `stage`; sets `has_failed` when nothing plays.
    pub fn new(stage: NodeRef<html::Div>, parts: PlayerParts, has_failed: RwSignal<bool>) -> Self {
        let player = Self(StoredValue::new_local(Vec::new()));
        Effect::new(move |_| {
            let Some(stage) = stage.get() else { return };
            let media = stage.query_selector("video, audio").ok().flatten();
            let Some(media) = media.and_then(|media| media.dyn_into::<HtmlMediaElement>().ok())
            else {
                return;
            };
            let mut listeners = keep_playing(&media, &parts.sources, has_failed);
            if let Some((sprite, vtt)) = &parts.storyboard {
                listeners.extend(scrub(&stage, &media, sprite, vtt));
            }
            if let Some(waveform) = &parts.waveform {
                listeners.extend(draw(&stage, &media, waveform));
            }
            // The page may be gone by now.
            player.0.try_set_value(listeners);
        });
        player
    }

    /// Ends that.
    pub fn close(self) {
        self.0.try_update_value(Vec::clear);
    }
}

/// Loads the next source, or the same once more, when one fails; goes on where it was.
fn keep_playing(
    media: &HtmlMediaElement,
    urls: &[String],
    has_failed: RwSignal<bool>,
) -> Vec<Listener> {
    let sources = Cell::new(Sources::new(urls.len()));
    // Time to go on at, and whether it was playing, until the new source knows its length.
    let resume = Rc::new(Cell::new(None::<(f64, bool)>));
    let fail = {
        let (media, urls, resume) = (media.clone(), urls.to_vec(), Rc::clone(&resume));
        move || {
            let (at_secs, was_playing) =
                resume.get().unwrap_or_else(|| (media.current_time(), !media.paused()));
            let mut decided = sources.get();
            let remedy = decided.failed(at_secs);
            sources.set(decided);
            match remedy {
                Remedy::Load(source) => {
                    if let Some(url) = urls.get(source) {
                        resume.set(Some((at_secs, was_playing)));
                        media.set_src(url);
                        media.load();
                    }
                }
                Remedy::GiveUp => {
                    has_failed.try_set(true);
                }
            }
        }
    };
    // It may have failed before the page came to life.
    if media.error().is_some() {
        fail();
    }
    let go_on = {
        let media = media.clone();
        move |_| {
            if let Some((at_secs, was_playing)) = resume.take() {
                media.set_current_time(at_secs);
                if was_playing && let Ok(playing) = media.play() {
                    // A browser that does not let it play shows its own button.
                    leptos::task::spawn_local(async move {
                        let _ = JsFuture::from(playing).await;
                    });
                }
            }
        }
    };
    vec![
        Listener::new(media, "error", move |_| fail()),
        Listener::new(media, "loadedmetadata", go_on),
    ]
}

/// Where on an element the pointer is, from 0 at its left to 1.
fn fraction(element: &Element, event: &web_sys::Event) -> f64 {
    let Some(event) = event.dyn_ref::<MouseEvent>() else { return 0.0 };
    let rect = element.get_bounding_client_rect();
    ((f64::from(event.client_x()) - rect.x()) / rect.width().max(1.0)).clamp(0.0, 1.0)
}

fn find(stage: &Element, class: &str) -> Option<HtmlElement> {
    stage.query_selector(class).ok().flatten()?.dyn_into().ok()
}

fn seek_on_click(element: &Element, media: &HtmlMediaElement) -> Listener {
    let (target, media) = (element.clone(), media.clone());
    Listener::new(element, "click", move |event| {
        let secs = media.duration();
        if secs.is_finite() {
            media.set_current_time(fraction(&target, &event) * secs);
        }
    })
}

/// Shows the picture of the time under the pointer.
fn scrub(stage: &Element, media: &HtmlMediaElement, sprite: &str, vtt: &str) -> Vec<Listener> {
    let parts = (find(stage, ".scrub"), find(stage, ".scrub-picture"), find(stage, ".scrub-time"));
    let (Some(strip), Some(picture), Some(time)) = parts else { return Vec::new() };
    let cues = Rc::new(RefCell::new(Vec::<Cue>::new()));
    {
        let (cues, strip, vtt) = (Rc::clone(&cues), strip.clone(), vtt.to_owned());
        leptos::task::spawn_local(async move {
            let Some(text) = fetch_text(&vtt).await else { return };
            cues.replace(parse_storyboard(&text));
            strip.set_hidden(cues.borrow().is_empty());
        });
    }
    // Through the object model: the policy forbids the attribute.
    let _ = picture.style().set_property("background-image", &format!("url(\"{sprite}\")"));
    let hide = {
        let picture = picture.clone();
        move |_| picture.set_hidden(true)
    };
    let show = {
        let (strip, media) = (strip.clone(), media.clone());
        move |event: web_sys::Event| {
            let fraction = fraction(&strip, &event);
            let at_secs = fraction * media.duration();
            let Some(cue) = cue_at(&cues.borrow(), at_secs) else { return };
            let (width, strip_width) = (f64::from(cue.width_px), f64::from(strip.client_width()));
            let left =
                (fraction * strip_width - width / 2.0).clamp(0.0, (strip_width - width).max(0.0));
            let style = picture.style();
            for (name, value) in [
                ("width", format!("{}px", cue.width_px)),
                ("height", format!("{}px", cue.height_px)),
                ("left", format!("{left:.0}px")),
                ("background-position", format!("-{}px -{}px", cue.x, cue.y)),
            ] {
                let _ = style.set_property(name, &value);
            }
            time.set_text_content(Some(&format::duration((at_secs * 1000.0) as u64)));
            picture.set_hidden(false);
        }
    };
    vec![
        Listener::new(&strip, "pointermove", show),
        Listener::new(&strip, "pointerleave", hide),
        seek_on_click(&strip, media),
    ]
}

/// Draws the waveform, and how far it has played.
fn draw(stage: &Element, media: &HtmlMediaElement, url: &str) -> Vec<Listener> {
    #[derive(Deserialize)]
    struct File {
        data: Vec<i8>,
    }
    let found = stage.query_selector(".waveform").ok().flatten();
    let Some(svg) = found else { return Vec::new() };
    let parts =
        (svg.query_selector("path").ok().flatten(), svg.query_selector("rect").ok().flatten());
    let (Some(path), Some(played)) = parts else { return Vec::new() };
    let slices = Rc::new(Cell::new(0.0));
    {
        let (slices, svg, url) = (Rc::clone(&slices), svg.clone(), url.to_owned());
        leptos::task::spawn_local(async move {
            let Some(text) = fetch_text(&url).await else { return };
            let Ok(File { data }) = serde_json::from_slice(text.as_bytes()) else { return };
            let count = data.len() / 2;
            slices.set(count as f64);
            // As high as its loudest moment, so that what is quiet is seen, too.
            let peak = data.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0).max(8);
            let (top, height) = (128 - i32::from(peak), 2 * i32::from(peak));
            let _ = svg.set_attribute("viewBox", &format!("0 {top} {count} {height}"));
            let _ = path.set_attribute("d", &waveform_path(&data));
            let _ = svg.remove_attribute("hidden");
        });
    }
    let advance = {
        let media = media.clone();
        move |_| {
            let secs = media.duration();
            if secs.is_finite() && secs > 0.0 {
                let width = media.current_time() / secs * slices.get();
                let _ = played.set_attribute("width", &format!("{width:.0}"));
            }
        }
    };
    vec![Listener::new(media, "timeupdate", advance), seek_on_click(&svg, media)]
}

async fn fetch_text(url: &str) -> Option<String> {
    let response = dom::fetch(url, &dom::request("GET")).await.ok()?;
    if response.ok() { dom::text(&response).await.ok() } else { None }
}
