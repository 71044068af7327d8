//! A reader of the camera's RTSP beside the server: when each frame was there to be had.
//!
//! It has a thread of its own, so that viewers do not delay it.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use retina::client::{
    InitialSequenceNumberPolicy, PacketItem, PlayOptions, Session, SessionOptions, SetupOptions,
};
use url::Url;

use crate::rtp::Frame;
use crate::viewer::now_ns;

/// Everything the reader has seen, growing; ends with the process.
#[derive(Debug, Clone)]
pub struct Reference(Arc<Mutex<Vec<Frame>>>);

impl Reference {
    /// Connects and waits for the first frame.
    ///
    /// # Errors
    /// When the camera does not play.
    pub fn start(camera: Url) -> Result<Self> {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let (failed, failure) = mpsc::channel();
        let into = frames.clone();
        std::thread::Builder::new()
            .name("reference".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let outcome = match runtime {
                    Ok(runtime) => runtime.block_on(read(camera, &into, &failed)),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = outcome {
                    eprintln!("whep-load: the reference reader ended: {error:#}");
                    // Nobody may be listening any more.
                    let _ = failed.send(Err(error));
                }
            })
            .context("cannot start a thread")?;
        failure.recv_timeout(Duration::from_secs(15)).context("the camera does not play")??;
        Ok(Self(frames))
    }

    /// Frames that came since `since_ns` (1970).
    pub fn since(&self, since_ns: u64) -> Vec<Frame> {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = frames.partition_point(|frame| frame.arrived_ns < since_ns);
        frames[start..].to_vec()
    }
}

async fn read(
    camera: Url,
    into: &Mutex<Vec<Frame>>,
    started: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    let mut session = Session::describe(camera, SessionOptions::default()).await?;
    let video = session.streams().iter().position(|stream| stream.media() == "video");
    session.setup(video.context("the camera has no video")?, SetupOptions::default()).await?;
    // The server under test connects at the same moment: what the camera announces may be overtaken.
    let options = PlayOptions::default().initial_seq(InitialSequenceNumberPolicy::Ignore);
    let mut session = session.play(options).await?;
    let mut len_bytes = 0;
    while let Some(item) = session.next().await {
        let PacketItem::Rtp(packet) = item? else { continue };
        len_bytes += packet.payload().len() as u32;
        if packet.mark() {
            // The low 32 bits are what was on the wire.
            let timestamp = packet.timestamp().timestamp() as u32;
            let frame = Frame { timestamp, arrived_ns: now_ns(), len_bytes };
            into.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
            len_bytes = 0;
            // Only the first is waited for.
            let _ = started.send(Ok(()));
        }
    }
    anyhow::bail!("the camera ended the stream")
}
