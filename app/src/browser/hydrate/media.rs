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
use web_sys::{Element, HtmlElement, HtmlMediaElement, MediaError, MouseEvent, RequestRedirect};

use super::dom::{self, Listener};
use crate::{
    browser::PlayerParts,
    format,
    state::{
        sources::{Failure, Remedy, Sources, Trouble},
        storyboard::{Cue, cue_at, parse_storyboard, waveform_path},
    },
};

/// The player of one asset.
#[derive(Clone, Copy, Debug)]
pub struct MediaPlayer(StoredValue<Vec<Listener>, LocalStorage>);

impl MediaPlayer {
    /// Watches over the player in `stage`; tells its `trouble` while nothing plays.
    pub fn new(
        stage: NodeRef<html::Div>,
        parts: PlayerParts,
        trouble: RwSignal<Option<Trouble>>,
    ) -> Self {
        let player = Self(StoredValue::new_local(Vec::new()));
        Effect::new(move |_| {
            let Some(stage) = stage.get() else { return };
            let media = stage.query_selector("video, audio").ok().flatten();
            let Some(media) = media.and_then(|media| media.dyn_into::<HtmlMediaElement>().ok())
            else {
                return;
            };
            let mut listeners = keep_playing(&media, &parts.sources, trouble);
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

/// Keeps a player going: what its listeners, timers and questions share.
struct Keeper {
    media: HtmlMediaElement,
    urls: Vec<String>,
    sources: Cell<Sources>,
    /// Time to go on at, and whether it was playing, until a source knows its length.
    resume: Cell<Option<(f64, bool)>>,
    trouble: RwSignal<Option<Trouble>>,
}

/// Loads another source, or the same once more, when one fails; goes on where it was.
fn keep_playing(
    media: &HtmlMediaElement,
    urls: &[String],
    trouble: RwSignal<Option<Trouble>>,
) -> Vec<Listener> {
    let keeper = Rc::new(Keeper {
        media: media.clone(),
        urls: urls.to_vec(),
        sources: Cell::new(Sources::new(urls.len())),
        resume: Cell::new(None),
        trouble,
    });
    // It may have failed before the page came to life.
    keeper.look();
    let failing = Rc::clone(&keeper);
    vec![
        Listener::new(media, "error", move |_| failing.look()),
        Listener::new(media, "loadedmetadata", move |_| keeper.go_on()),
    ]
}

impl Keeper {
    /// Takes in what the player says of its source.
    fn look(self: &Rc<Self>) {
        let Some(error) = self.media.error() else { return };
        self.failed(match error.code() {
            MediaError::MEDIA_ERR_DECODE => Failure::Unplayable,
            MediaError::MEDIA_ERR_SRC_NOT_SUPPORTED => Failure::Unclear,
            _ => Failure::Unreachable,
        });
    }

    fn failed(self: &Rc<Self>, failure: Failure) {
        let now = || (self.media.current_time(), !self.media.paused());
        let resume = self.resume.get().unwrap_or_else(now);
        self.resume.set(Some(resume));
        let mut sources = self.sources.get();
        let remedy = sources.failed(resume.0, failure);
        self.sources.set(sources);
        let keeper = Rc::downgrade(self);
        match remedy {
            Remedy::Load(source) => self.load(source),
            Remedy::LoadLater(source, after_ms) => {
                self.trouble.try_set(Some(Trouble::Unreachable));
                dom::after(after_ms.cast_signed(), move || {
                    if let Some(keeper) = keeper.upgrade() {
                        keeper.load(source);
                    }
                });
            }
            Remedy::Ask(source) => {
                let Some(url) = self.urls.get(source).cloned() else { return };
                leptos::task::spawn_local(async move {
                    let failure = ask(&url).await;
                    if let Some(keeper) = keeper.upgrade() {
                        keeper.failed(failure);
                    }
                });
            }
            Remedy::GiveUp => {
                self.trouble.try_set(Some(Trouble::Unplayable));
            }
        }
    }

    fn load(&self, source: usize) {
        if let Some(url) = self.urls.get(source) {
            self.media.set_src(url);
            self.media.load();
        }
    }

    fn go_on(&self) {
        self.trouble.try_set(None);
        let Some((at_secs, was_playing)) = self.resume.take() else { return };
        self.media.set_current_time(at_secs);
        if was_playing && let Ok(playing) = self.media.play() {
            // A browser that does not let it play shows its own button.
            leptos::task::spawn_local(async move {
                let _ = JsFuture::from(playing).await;
            });
        }
    }
}

/// Whether the server leads to a source's bytes now; it knows whether the store answers.
async fn ask(url: &str) -> Failure {
    let request = dom::request("HEAD");
    // Where it leads to, pages may not ask.
    request.set_redirect(RequestRedirect::Manual);
    match dom::fetch(url, &request).await.map(|response| response.status()) {
        Err(_) | Ok(429 | 500..) => Failure::Unreachable,
        Ok(_) => Failure::Unplayable,
    }
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
