//! The first look into an original: measures, thumbnails and poster, and what is to follow.
//!
//! Must not: decode anything in this process.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use domain::{AssetKind, RenditionKind};

use super::{Bench, JobError, child_failed};
use crate::{
    child, container,
    db::{Made, Measures, NewRendition},
    probe::{self, MediaInfo},
    renditions::{self, read},
    worker::{Limits, SizePx, ThumbReport},
};

/// Where in a video its thumbnail is taken at the latest.
const LATEST_FRAME_MS: u64 = 10_000;
/// Squares the pixels, then fits the frame into the poster's square.
const FRAME_FILTER: &str = "scale=iw*sar:ih,\
    scale=w='min(1280,iw)':h='min(1280,ih)':force_original_aspect_ratio=decrease";

/// What the worker made of a picture.
struct Thumbs {
    original: SizePx,
    thumbhash: String,
    renditions: Vec<NewRendition>,
}

impl Bench<'_> {
    pub(super) async fn derive(&self) -> Result<Made, JobError> {
        match self.asset.kind {
            // Markup that can reach out; it is shown only as an attachment.
            AssetKind::Image if self.asset.mime == "image/svg+xml" => Ok(Made::default()),
            AssetKind::Image => {
                let input = self.original().await?;
                let kinds = [RenditionKind::Thumb320, RenditionKind::Thumb640];
                let thumbs = self.thumbs(&input, &kinds).await?;
                let measures = Measures {
                    size_px: Some((thumbs.original.width_px, thumbs.original.height_px)),
                    thumbhash: Some(thumbs.thumbhash),
                    ..Measures::default()
                };
                Ok(Made {
                    measures: Some(measures),
                    renditions: thumbs.renditions,
                    follow_ups: Vec::new(),
                })
            }
            AssetKind::Video | AssetKind::Audio => self.derive_media().await,
            AssetKind::Other => Ok(Made::default()),
        }
    }

    async fn derive_media(&self) -> Result<Made, JobError> {
        let input = self.original().await?;
        let json = self.ffprobe(&input).await?;
        let found = container::metadata(&json);
        self.worker.catalog.add_metadata(&self.asset.id, found).await?;
        let info = parse(&json)?;
        let mut made = Made { follow_ups: renditions::follow_ups(&info), ..Made::default() };
        let mut thumbhash = None;
        if info.size_px.is_some() {
            let frame = self.frame(&input, &info).await?;
            let kinds = [RenditionKind::Thumb320, RenditionKind::Thumb640, RenditionKind::Poster];
            let thumbs = self.thumbs(&frame, &kinds).await?;
            thumbhash = Some(thumbs.thumbhash);
            made.renditions = thumbs.renditions;
        }
        made.measures = Some(Measures {
            size_px: info.size_px,
            duration_ms: info.duration_ms,
            codec: info.video_codec.or(info.audio_codec),
            thumbhash,
        });
        Ok(made)
    }

    pub(super) async fn probe(&self, input: &Path) -> Result<MediaInfo, JobError> {
        parse(&self.ffprobe(input).await?)
    }

    async fn ffprobe(&self, input: &Path) -> Result<Vec<u8>, JobError> {
        let args = [probe::INPUT_GUARD_ARGS, probe::FFPROBE_ARGS].concat();
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        args.push(input.into());
        let options = self.options();
        child::run_limited(&options.worker_exe, Limits::Quick, &options.ffprobe, args)
            .await
            .map_err(|error| child_failed("The file cannot be read as video or sound", error))
    }

    /// One picture out of a video, upright.
    async fn frame(&self, input: &Path, info: &MediaInfo) -> Result<PathBuf, JobError> {
        let frame = self.file("frame.png");
        let at_ms = (info.duration_ms.unwrap_or(0) / 10).min(LATEST_FRAME_MS);
        // From the beginning if there is no frame where the file says there should be.
        for at_ms in [at_ms, 0] {
            let at = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
            let mut args: Vec<OsString> = vec!["-nostdin".into(), "-v".into(), "error".into()];
            args.extend(probe::INPUT_GUARD_ARGS.iter().map(OsString::from));
            args.extend(["-threads", "2", "-ss", &at, "-i"].map(OsString::from));
            args.push(input.into());
            args.extend(["-an", "-sn", "-dn", "-frames:v", "1", "-vf"].map(OsString::from));
            args.extend([FRAME_FILTER, "-c:v", "png", "-f", "image2", "-y"].map(OsString::from));
            args.push(frame.clone().into());
            let options = self.options();
            child::run_limited(&options.worker_exe, Limits::Quick, &options.ffmpeg, args)
                .await
                .map_err(|error| child_failed("The video cannot be decoded", error))?;
            if tokio::fs::try_exists(&frame).await.unwrap_or(false) {
                return Ok(frame);
            }
        }
        Err(JobError::Hopeless("The video holds no picture that can be decoded.".into()))
    }

    /// Has the worker shrink a picture, and stores the results.
    async fn thumbs(&self, input: &Path, kinds: &[RenditionKind]) -> Result<Thumbs, JobError> {
        let files: Vec<PathBuf> = kinds.iter().map(|kind| self.file(kind.as_str())).collect();
        let mut args = vec![input.as_os_str().to_owned()];
        args.extend(files.iter().map(|file| file.as_os_str().to_owned()));
        let line = child::run_thumb(&self.options().worker_exe, args)
            .await
            .map_err(|error| child_failed("The picture cannot be decoded", error))?;
        let report = serde_json::from_slice(&line).map_err(|error| {
            JobError::Passing(format!("The worker wrote something unexpected: {error}."))
        })?;
        let (original, sizes, thumbhash) = match report {
            ThumbReport::Made { original, sizes, thumbhash } => (original, sizes, thumbhash),
            ThumbReport::Refused { reason } => return Err(JobError::Hopeless(reason)),
        };
        let mut renditions = Vec::new();
        for ((&kind, size), file) in kinds.iter().zip(sizes).zip(&files) {
            let size_px = (size.width_px, size.height_px);
            renditions.push(self.keep(kind, file, size_px, read::MAX_BYTES).await?);
        }
        Ok(Thumbs { original, thumbhash, renditions })
    }
}

fn parse(ffprobe_json: &[u8]) -> Result<MediaInfo, JobError> {
    probe::parse_ffprobe(ffprobe_json).map_err(|error| JobError::Hopeless(format!("{error}.")))
}
