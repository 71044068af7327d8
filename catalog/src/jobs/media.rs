//! What takes a walk through a whole video or sound: storyboard, waveform, proxies.
//!
//! Must not: decode anything in this process. The samples that ffmpeg hands over are plain numbers.

use std::path::Path;

use domain::RenditionKind;

use super::{Bench, JobError, child_failed};
use crate::{
    child,
    db::{Made, NewRendition},
    keys,
    probe::MediaInfo,
    renditions::{
        proxy::{self, ProxySize},
        read,
        storyboard::Storyboard,
        waveform::{self, Peaks},
    },
    worker::Limits,
};

impl Bench<'_> {
    pub(super) async fn storyboard(&self) -> Result<Made, JobError> {
        let input = self.original().await?;
        let info = self.probe(&input).await?;
        let board = info
            .size_px
            .zip(info.duration_ms)
            .and_then(|(size_px, duration_ms)| Storyboard::plan(size_px, duration_ms));
        let Some(board) = board else { return Ok(Made::default()) };
        let (sprite, vtt) = (self.file("storyboard.jpg"), self.file("storyboard.vtt"));
        let options = self.options();
        let args = board.ffmpeg_args(&input, &sprite);
        child::run_limited(&options.worker_exe, Limits::Scan, &options.ffmpeg, args)
            .await
            .map_err(|error| child_failed("The storyboard cannot be made", error))?;
        if !tokio::fs::try_exists(&sprite).await.unwrap_or(false) {
            return Err(JobError::Hopeless("The video holds no picture for a storyboard.".into()));
        }
        // Beside the WebVTT, so that it stays right wherever this server is mounted.
        let kind = RenditionKind::Storyboard;
        let name = keys::rendition_name(&self.asset.id, kind);
        write(&vtt, board.vtt(&format!("{name}.{}", kind.extension()))).await?;
        let sprite = self.keep(kind, &sprite, board.sprite_px(), read::MAX_BYTES).await?;
        let vtt = self.keep(RenditionKind::StoryboardVtt, &vtt, (0, 0), read::MAX_BYTES).await?;
        Ok(made(vec![sprite, vtt]))
    }

    pub(super) async fn waveform(&self) -> Result<Made, JobError> {
        let input = self.original().await?;
        let info = self.probe(&input).await?;
        if info.audio_codec.is_none() {
            return Ok(Made::default());
        }
        let options = self.options();
        let mut peaks = Peaks::default();
        let take = |bytes: &[u8]| {
            peaks.push_bytes(bytes);
            let done_ms =
                peaks.samples().saturating_mul(1000) / u64::from(waveform::SAMPLE_RATE_HZ);
            self.progress.set(proxy::percent(done_ms, info.duration_ms));
        };
        let args = waveform::ffmpeg_args(&input);
        child::run_streaming(&options.worker_exe, Limits::Scan, &options.ffmpeg, args, take)
            .await
            .map_err(|error| child_failed("The sound cannot be decoded", error))?;
        let Some(json) = peaks.into_json() else {
            return Err(JobError::Hopeless("The sound holds nothing that can be decoded.".into()));
        };
        let file = self.file("waveform.json");
        write(&file, json).await?;
        let waveform = self.keep(RenditionKind::Waveform, &file, (0, 0), read::MAX_BYTES).await?;
        Ok(made(vec![waveform]))
    }

    pub(super) async fn proxy(&self, kind: RenditionKind) -> Result<Made, JobError> {
        let size = match kind {
            RenditionKind::Proxy720p => ProxySize::P720,
            _ => ProxySize::P1080,
        };
        let input = self.original().await?;
        let info = self.probe(&input).await?;
        if !proxy::is_wanted(size, &info) {
            return Ok(Made::default());
        }
        let output = self.file("proxy.mp4");
        self.encode(size, &info, &input, &output).await?;
        let proxy = self.probe(&output).await?;
        if let Some(reason) = proxy::what_it_lacks(proxy.duration_ms, info.duration_ms) {
            return Err(JobError::Hopeless(reason));
        }
        let size_px = proxy.size_px.unwrap_or((0, 0));
        Ok(made(vec![self.keep(kind, &output, size_px, proxy::MAX_BYTES).await?]))
    }

    async fn encode(
        &self,
        size: ProxySize,
        info: &MediaInfo,
        input: &Path,
        output: &Path,
    ) -> Result<(), JobError> {
        let options = self.options();
        let mut progress = proxy::Progress::default();
        let take = |bytes: &[u8]| {
            progress.push_bytes(bytes);
            self.progress.set(proxy::percent(progress.done_ms(), info.duration_ms));
        };
        let args = proxy::ffmpeg_args(size, input, output);
        child::run_streaming(&options.worker_exe, Limits::Proxy, &options.ffmpeg, args, take)
            .await
            .map_err(|error| child_failed("The proxy cannot be encoded", error))
    }
}

fn made(renditions: Vec<NewRendition>) -> Made {
    Made { renditions, ..Made::default() }
}

async fn write(path: &Path, text: String) -> Result<(), JobError> {
    tokio::fs::write(path, text)
        .await
        .map_err(|error| JobError::Passing(format!("No temporary file: {error}.")))
}
