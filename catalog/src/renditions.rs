//! Which renditions an original gets, and how each is described: pure decisions.
//!
//! Must not: start a process, touch the store or the catalog (`jobs` does all of these).

pub mod proxy;
pub mod read;
pub mod storyboard;
pub mod waveform;

use domain::{JobKind, RenditionKind};

use crate::probe::MediaInfo;

/// Longest side of a thumbnail or poster, in pixels; `None` for renditions of another shape.
pub fn fit_px(kind: RenditionKind) -> Option<u32> {
    match kind {
        RenditionKind::Thumb320 => Some(320),
        RenditionKind::Thumb640 => Some(640),
        RenditionKind::Poster => Some(1280),
        _ => None,
    }
}

/// What the bytes of a rendition depend on besides the original. A change makes new names.
pub(crate) fn params(kind: RenditionKind) -> &'static str {
    match kind {
        RenditionKind::Thumb320 => "webp;q=78;m=1;fit=320;v2",
        RenditionKind::Thumb640 => "webp;q=78;m=1;fit=640;v2",
        RenditionKind::Poster => "webp;q=78;m=1;fit=1280;v1",
        RenditionKind::Storyboard => "jpeg;tile=240;tiles=100;columns=10;v1",
        RenditionKind::StoryboardVtt => "storyboard;tile=240;tiles=100;columns=10;v1",
        RenditionKind::Waveform => "peaks;rate=8000;bits=8;max=4096;v1",
        RenditionKind::Proxy720p => "h264;crf=23;gop=1s;aac=128k;side=720;v1",
        RenditionKind::Proxy1080p => "h264;crf=23;gop=1s;aac=128k;side=1080;v1",
    }
}

/// The jobs that follow from what a look into a video or sound has found. [`JobKind::Derive`] was
/// that look, and has made the thumbnails and the poster.
pub fn follow_ups(info: &MediaInfo) -> Vec<JobKind> {
    let mut jobs = Vec::new();
    if let (Some(size_px), Some(duration_ms)) = (info.size_px, info.duration_ms)
        && storyboard::Storyboard::plan(size_px, duration_ms).is_some()
    {
        jobs.push(JobKind::Storyboard);
    }
    if info.audio_codec.is_some() {
        jobs.push(JobKind::Waveform);
    }
    for (job, size) in [
        (JobKind::Proxy720p, proxy::ProxySize::P720),
        (JobKind::Proxy1080p, proxy::ProxySize::P1080),
    ] {
        if proxy::is_wanted(size, info) {
            jobs.push(job);
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone_clip() -> MediaInfo {
        MediaInfo {
            size_px: Some((1280, 720)),
            duration_ms: Some(10_000),
            container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
            video_codec: Some("h264".into()),
            pixel_format: Some("yuv420p".into()),
            audio_codec: Some("aac".into()),
            bits_per_s: Some(4_000_000),
        }
    }

    #[test]
    fn clip_that_browsers_play_gets_no_proxy() {
        assert_eq!(follow_ups(&phone_clip()), [JobKind::Storyboard, JobKind::Waveform]);
    }

    #[test]
    fn clip_that_browsers_do_not_play_gets_a_proxy_of_its_own_size() {
        let hevc = MediaInfo { video_codec: Some("hevc".into()), ..phone_clip() };
        assert_eq!(follow_ups(&hevc), [JobKind::Storyboard, JobKind::Waveform, JobKind::Proxy720p]);
    }

    #[test]
    fn sound_gets_a_waveform_alone() {
        let song = MediaInfo {
            size_px: None,
            video_codec: None,
            pixel_format: None,
            container: "mp3".into(),
            ..phone_clip()
        };
        assert_eq!(follow_ups(&song), [JobKind::Waveform]);
        assert_eq!(follow_ups(&MediaInfo::default()), []);
    }

    #[test]
    fn every_rendition_has_parameters_of_its_own() {
        let mut seen: Vec<_> = RenditionKind::ALL.into_iter().map(params).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), RenditionKind::ALL.len());
    }
}
