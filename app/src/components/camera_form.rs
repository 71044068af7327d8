//! The fields that describe a camera, and the test of a source.

use domain::{CameraDetails, CameraProbe, RtspTransport};
use leptos::{html, prelude::*};

use crate::{
    api::{CameraField, FormError, ProbeCamera},
    format,
};

/// What is wrong with a form as a whole.
#[component]
pub fn FormNotice(
    /// Of the last attempt.
    error: Signal<Option<FormError>>,
) -> impl IntoView {
    let message = move || {
        error.with(|error| {
            error.as_ref().filter(|error| error.field.is_none()).map(|error| error.message.clone())
        })
    };
    view! {
        <Show when=move || message().is_some()>
            <p class="form-error" role="alert" data-testid="form-error">
                {message}
            </p>
        </Show>
    }
}

/// What is wrong with one field, right below it.
#[component]
fn FieldError(
    field: CameraField,
    id: &'static str,
    error: Signal<Option<FormError>>,
) -> impl IntoView {
    let message = move || error.with(|error| error.as_ref().and_then(|e| e.beside(field)));
    view! {
        <p
            class="field-error"
            id=id
            role="alert"
            hidden=move || message().is_none()
            data-testid=id
        >
            {message}
        </p>
    }
}

const SOURCES: &str = "rtsp:// and rtsps:// cameras, whep+https:// to play from another server, whip: to publish from a browser or an encoder, ffmpeg: for what ffmpeg reads, test: for a test picture.";

/// Every field of a camera; `camera` is what it is now, when it is being changed.
#[component]
pub fn CameraFields(
    /// Of the last attempt.
    error: Signal<Option<FormError>>,
    /// The camera to change; none to add one.
    #[prop(optional)]
    camera: Option<CameraDetails>,
) -> impl IntoView {
    let is_new = camera.is_none();
    let invalid = move |field: CameraField| {
        let is_wrong = error.with(|error| error.as_ref().is_some_and(|e| e.field == Some(field)));
        if is_wrong { "true" } else { "false" }
    };
    let url_input = NodeRef::<html::Input>::new();
    let shown = |url: &str, has_credentials: bool| {
        let with = if has_credentials { ", with a password" } else { "" };
        format!("Now {url}{with}. Leave empty to keep it.")
    };
    let url_hint = match &camera {
        Some(camera) => shown(&camera.url, camera.url_has_credentials),
        None => SOURCES.to_owned(),
    };
    let sub = camera.as_ref().and_then(|c| Some((c.sub_url.clone()?, c.sub_url_has_credentials)));
    let sub_hint = match &sub {
        Some((url, has_credentials)) => shown(url, *has_credentials),
        None => "Many cameras send a second, smaller stream; the wall plays it in small tiles, and the large one when you look closer.".to_owned(),
    };
    let remove_sub = sub.is_some().then(|| {
        view! {
            <label class="check">
                <input type="checkbox" name="camera[remove_sub]" value="true" />
                "No second stream any more"
            </label>
        }
    });
    let id_field = match &camera {
        Some(camera) => {
            view! { <input type="hidden" name="camera[id]" value=camera.id.to_string() /> }
                .into_any()
        }
        None => view! {
            <div class="field">
                <label for="camera-id">"Name in addresses"</label>
                <input
                    id="camera-id"
                    name="camera[id]"
                    required
                    maxlength="64"
                    pattern="[a-z0-9][a-z0-9_\\-]*"
                    title="small letters, digits, - and _"
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    placeholder="front-door"
                    aria-describedby="error-id hint-id"
                    aria-invalid=move || invalid(CameraField::Id)
                />
                <FieldError field=CameraField::Id id="error-id" error />
                <p class="hint" id="hint-id">
                    "Small letters, digits, - and _. It cannot be changed later."
                </p>
            </div>
        }
        .into_any(),
    };
    let name = camera.as_ref().map(|camera| camera.name.clone()).unwrap_or_default();
    let on_demand = camera.as_ref().is_some_and(|camera| camera.on_demand);
    let audio = camera.as_ref().is_none_or(|camera| camera.audio);
    let transport = camera.as_ref().map(|camera| camera.rtsp_transport).unwrap_or_default();
    view! {
        {id_field}
        <div class="field">
            <label for="camera-name">"Name to show"</label>
            <input
                id="camera-name"
                name="camera[name]"
                value=name
                maxlength="100"
                autocomplete="off"
                placeholder="Front door"
                aria-describedby="error-name"
                aria-invalid=move || invalid(CameraField::Name)
            />
            <FieldError field=CameraField::Name id="error-name" error />
        </div>
        <div class="field">
            <label for="camera-url">"Source"</label>
            <input
                id="camera-url"
                name="camera[url]"
                node_ref=url_input
                required=is_new
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                placeholder="rtsp://user:password@192.168.1.20/stream1"
                aria-describedby="error-url hint-url"
                aria-invalid=move || invalid(CameraField::Url)
            />
            <FieldError field=CameraField::Url id="error-url" error />
            <p class="hint" id="hint-url">
                {url_hint}
            </p>
            <ProbeSource url_input />
        </div>
        <div class="field">
            <label for="camera-sub-url">"Source of small pictures (optional)"</label>
            <input
                id="camera-sub-url"
                name="camera[sub_url]"
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                placeholder="rtsp://user:password@192.168.1.20/stream2"
                aria-describedby="error-sub-url hint-sub-url"
                aria-invalid=move || invalid(CameraField::SubUrl)
            />
            <FieldError field=CameraField::SubUrl id="error-sub-url" error />
            <p class="hint" id="hint-sub-url">
                {sub_hint}
            </p>
            {remove_sub}
        </div>
        <div class="field">
            <label for="camera-transport">"How RTSP comes"</label>
            <select id="camera-transport" name="camera[rtsp_transport]">
                <option value="tcp" selected=transport == RtspTransport::Tcp>
                    "TCP: nothing is lost on the way"
                </option>
                <option value="udp" selected=transport == RtspTransport::Udp>
                    "UDP: for cameras that cannot do TCP"
                </option>
            </select>
        </div>
        <div class="field">
            <label class="check">
                <input type="checkbox" name="camera[audio]" value="true" checked=audio />
                "Sound, when the camera has some"
            </label>
            <label class="check">
                <input type="checkbox" name="camera[on_demand]" value="true" checked=on_demand />
                "Connect only while somebody watches"
            </label>
        </div>
    }
}

/// Tries the source that is typed, and tells what it offers. Without JavaScript there is no button.
#[component]
fn ProbeSource(url_input: NodeRef<html::Input>) -> impl IntoView {
    let probe = ServerAction::<ProbeCamera>::new();
    let runs_in_browser = RwSignal::new(false);
    Effect::new(move || runs_in_browser.set(true));
    let outcome = move || {
        if probe.pending().get() {
            return Some(view! { <p class="hint">"Connecting to the camera…"</p> }.into_any());
        }
        Some(match probe.value().get()? {
            Ok(found) => view! { <ProbeResult found /> }.into_any(),
            Err(error) => view! {
                <p class="field-error" data-testid="probe-error">
                    {error.message}
                </p>
            }
            .into_any(),
        })
    };
    view! {
        <div class="probe" hidden=move || !runs_in_browser.get()>
            <button
                class="button"
                type="button"
                disabled=move || probe.pending().get()
                data-testid="probe"
                on:click=move |_| {
                    let url = url_input.get_untracked().map(|input| input.value());
                    probe
                        .dispatch(ProbeCamera {
                            url: url.unwrap_or_default(),
                        });
                }
            >
                "Test this source"
            </button>
            <div role="status">{outcome}</div>
        </div>
    }
}

#[component]
fn ProbeResult(found: CameraProbe) -> impl IntoView {
    let rows = probe_rows(&found).into_iter().map(|(what, value)| {
        view! {
            <div>
                <dt>{what}</dt>
                <dd>{value}</dd>
            </div>
        }
    });
    view! {
        <dl class="details" data-testid="probe-result">
            {rows.collect::<Vec<_>>()}
        </dl>
    }
}

/// What a test found, as it is shown.
fn probe_rows(found: &CameraProbe) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(video) = &found.video {
        rows.push(("Picture", format!("{}×{}, {}", video.width_px, video.height_px, video.codec)));
    }
    rows.push(("Frame rate", format!("{:.1} a second", found.fps)));
    rows.push(("Bitrate", format::bitrate(found.bitrate_kbps)));
    rows.push((
        "Key frames",
        match found.key_frame_interval_ms {
            Some(ms) => format!("every {:.1} s", f64::from(ms) / 1_000.0),
            None => "fewer than two while testing".to_owned(),
        },
    ));
    rows.push(("First picture", format!("after {} ms", found.first_picture_ms)));
    if found.lost_packets > 0 {
        rows.push(("Lost packets", found.lost_packets.to_string()));
    }
    let sound: Vec<&str> = found
        .tracks
        .iter()
        .filter(|track| track.media == "audio")
        .map(|track| track.codec.as_str())
        .collect();
    rows.push(("Sound", if sound.is_empty() { "none".to_owned() } else { sound.join(", ") }));
    rows
}

#[cfg(test)]
mod tests {
    use domain::{ProbedTrack, VideoParameters};

    use super::*;

    #[test]
    fn test_of_a_source_tells_codec_size_rate_and_key_frames() {
        let found = CameraProbe {
            first_picture_ms: 412,
            tracks: vec![ProbedTrack {
                media: "audio".into(),
                codec: "pcma".into(),
                clock_rate_hz: 8_000,
                channels: Some(1),
            }],
            video: Some(VideoParameters {
                codec: "avc1.4d001f".into(),
                width_px: 1280,
                height_px: 720,
            }),
            fps: 25.0,
            bitrate_kbps: 2_100,
            key_frame_interval_ms: Some(2_000),
            lost_packets: 0,
        };
        let text: Vec<String> = probe_rows(&found)
            .into_iter()
            .map(|(what, value)| format!("{what}: {value}"))
            .collect();
        assert_eq!(
            text,
            [
                "Picture: 1280×720, avc1.4d001f",
                "Frame rate: 25.0 a second",
                "Bitrate: 2.1 Mbit/s",
                "Key frames: every 2.0 s",
                "First picture: after 412 ms",
                "Sound: pcma",
            ]
        );
    }
}
