//! The fields that describe a camera, and the test of a source.

use domain::{CameraDetails, CameraProbe, MediaSettings, RtspTransport};
use leptos::{html, prelude::*};

use super::DetailList;
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

/// One line to type; below it what is wrong with it, a hint, and what else belongs to it.
#[component]
fn TextField(
    field: CameraField,
    label: &'static str,
    placeholder: &'static str,
    #[prop(optional)] value: String,
    #[prop(optional)] maxlength: Option<u32>,
    #[prop(optional)] pattern: Option<&'static str>,
    required: bool,
    #[prop(optional)] input: NodeRef<html::Input>,
    #[prop(optional, into)] hint: Option<String>,
    error: Signal<Option<FormError>>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let (name, slug) = match field {
        CameraField::Id => ("camera[id]", "id"),
        CameraField::Name => ("camera[name]", "name"),
        CameraField::Url => ("camera[url]", "url"),
        CameraField::SubUrl => ("camera[sub_url]", "sub-url"),
    };
    let [id, error_id, hint_id] = ["camera", "error", "hint"].map(|part| format!("{part}-{slug}"));
    let message = Memo::new(move |_| error.with(|error| error.as_ref()?.beside(field)));
    let is_wrong = move || message.with(Option::is_some);
    let described_by = match &hint {
        Some(_) => format!("{error_id} {hint_id}"),
        None => error_id.clone(),
    };
    let hint = hint.map(|hint| {
        view! {
            <p class="hint" id=hint_id>
                {hint}
            </p>
        }
    });
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input
                id=id
                name=name
                node_ref=input
                value=value
                required=required
                maxlength=maxlength
                pattern=pattern
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                placeholder=placeholder
                aria-describedby=described_by
                aria-invalid=move || is_wrong().to_string()
            />
            <p
                class="field-error"
                id=error_id.clone()
                role="alert"
                hidden=move || !is_wrong()
                data-testid=error_id
            >
                {move || message.get()}
            </p>
            {hint}
            {children.map(|children| children())}
        </div>
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
            <TextField
                field=CameraField::Id
                label="Name in addresses"
                placeholder="front-door"
                maxlength=64
                pattern="[a-z0-9][a-z0-9_\\-]*"
                required=true
                hint="Small letters, digits, - and _. It cannot be changed later."
                error
            />
        }
        .into_any(),
    };
    let name = camera.as_ref().map(|camera| camera.name.clone()).unwrap_or_default();
    let on_demand = camera.as_ref().is_some_and(|camera| camera.on_demand);
    let audio = camera.as_ref().is_none_or(|camera| camera.audio);
    let media = camera.as_ref().map(|camera| camera.media).unwrap_or_default();
    let transport = camera.as_ref().map(|camera| camera.rtsp_transport).unwrap_or_default();
    view! {
        {id_field}
        <TextField
            field=CameraField::Name
            label="Name to show"
            placeholder="Front door"
            value=name
            maxlength=100
            required=false
            error
        />
        <TextField
            field=CameraField::Url
            label="Source"
            placeholder="rtsp://user:password@192.168.1.20/stream1"
            required=is_new
            input=url_input
            hint=url_hint
            error
        >
            <ProbeSource url_input />
        </TextField>
        <TextField
            field=CameraField::SubUrl
            label="Source of small pictures (optional)"
            placeholder="rtsp://user:password@192.168.1.20/stream2"
            required=false
            hint=sub_hint
            error
        >
            {remove_sub}
        </TextField>
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
        <MediaFields media />
    }
}

/// How much of the network the camera may take.
#[component]
fn MediaFields(media: MediaSettings) -> impl IntoView {
    let numbers = [
        ("target_kbps", "Bitrate to begin with, kbit/s", media.target_kbps, (50, 100_000)),
        ("max_kbps", "Most, kbit/s", media.max_kbps, (50, 100_000)),
        ("min_kbps", "On the worst of networks, kbit/s", media.min_kbps, (50, 100_000)),
        (
            "key_frame_interval_ms",
            "Between key frames, ms",
            media.key_frame_interval_ms,
            (500, 60_000),
        ),
        ("jitter_buffer_ms", "Wait for missing packets, ms", media.jitter_buffer_ms, (0, 1_000)),
    ];
    let fields: Vec<_> = numbers
        .into_iter()
        .map(|(name, label, value, (min, max))| {
            let id = format!("camera-media-{name}");
            view! {
                <div class="field">
                    <label for=id.clone()>{label}</label>
                    <input
                        id=id
                        type="number"
                        name=format!("camera[media][{name}]")
                        value=value.to_string()
                        min=min.to_string()
                        max=max.to_string()
                        required
                        inputmode="numeric"
                    />
                </div>
            }
        })
        .collect();
    view! {
        <details class="media-settings">
            <summary>"Media settings"</summary>
            <p class="hint">
                "They bind what is encoded here and what publishers send (whip:). A camera that is passed through is only measured against them."
            </p>
            {fields}
            <label class="check">
                <input
                    type="checkbox"
                    name="camera[media][simulcast]"
                    value="true"
                    checked=media.simulcast
                />
                "Take several sizes of a publisher (simulcast)"
            </label>
        </details>
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
    view! { <DetailList rows=probe_rows(&found) attr:data-testid="probe-result" /> }
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
