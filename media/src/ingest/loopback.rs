//! RTP to and from an ffmpeg of ours, as RTSP over a loopback connection: framed, with timestamps, and
//! nothing is lost under load, as datagrams would be. Must not: be reached from elsewhere.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::SourceError;
use crate::sansio::{
    rtp::{self, Header},
    rtsp::{Announced, Message, Request, Unwrap},
    track_sdp::{PAYLOAD_TYPE, TrackSdp},
};

/// ffmpeg speaks first, as soon as it is connected.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A port of ours for one connection of an ffmpeg.
pub(super) struct Loopback {
    listener: TcpListener,
    path: String,
}

impl Loopback {
    /// Takes any free port.
    pub(super) async fn bind() -> Result<Self, SourceError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(io_error)?;
        // Other users of this machine cannot guess it.
        let path = format!("/{}", hex::encode(rand::random::<[u8; 16]>()));
        Ok(Self { listener, path })
    }

    /// For ffmpeg's command line.
    pub(super) fn url(&self) -> Result<String, SourceError> {
        let address = self.listener.local_addr().map_err(io_error)?;
        Ok(format!("rtsp://{address}{}", self.path))
    }

    /// Waits until ffmpeg has announced what it sends, and sends.
    pub(super) async fn record(self) -> Result<Recording, SourceError> {
        let (connection, sdp) = self.connect("RECORD", "").await?;
        let announced = Announced::of_sdp(&sdp).ok_or(SourceError::Protocol)?;
        Ok(Recording { connection, announced, unwrap: Unwrap::default() })
    }

    /// Waits until ffmpeg has asked for the track.
    pub(super) async fn play(self, track: &TrackSdp) -> Result<Playing, SourceError> {
        let (connection, _) = self.connect("PLAY", &track.to_string()).await?;
        Ok(Playing { stream: connection.stream, sequence_number: 0, packet: Vec::new() })
    }

    /// Answers requests until one has `last_method`; gives the SDP that was announced.
    async fn connect(
        self,
        last_method: &str,
        sdp: &str,
    ) -> Result<(Connection, Bytes), SourceError> {
        'connection: loop {
            let (stream, _) = self.listener.accept().await.map_err(io_error)?;
            // It is loopback; when the option cannot be set nothing is worse.
            let _ = stream.set_nodelay(true);
            let mut connection = Connection { stream, buffer: BytesMut::new() };
            let mut announced = Bytes::new();
            // Whoever else connects is no reason for a source to fail, or to wait.
            let first = timeout(FIRST_REQUEST_TIMEOUT, connection.next_request()).await;
            let Ok(Ok(mut request)) = first else { continue };
            loop {
                let path = url::Url::parse(&request.url);
                if !path.is_ok_and(|url| url.path().starts_with(&self.path)) {
                    continue 'connection;
                }
                connection.answer(&request, sdp).await?;
                if request.method == "ANNOUNCE" {
                    announced = request.body;
                } else if request.method == last_method {
                    return Ok((connection, announced));
                }
                request = connection.next_request().await?;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// The next message; may be cancelled without a loss.
    async fn next(&mut self) -> Result<Message, SourceError> {
        loop {
            let message = Message::take(&mut self.buffer).map_err(|_| SourceError::Protocol)?;
            if let Some(message) = message {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(io_error)? == 0 {
                return Err(SourceError::Ended);
            }
        }
    }

    async fn next_request(&mut self) -> Result<Request, SourceError> {
        loop {
            if let Message::Request(request) = self.next().await? {
                return Ok(request);
            }
        }
    }

    async fn answer(&mut self, request: &Request, sdp: &str) -> Result<(), SourceError> {
        self.stream.write_all(request.answer(sdp).as_bytes()).await.map_err(io_error)
    }
}

/// One track that ffmpeg sends.
pub(super) struct Recording {
    connection: Connection,
    /// What it is.
    pub(super) announced: Announced,
    unwrap: Unwrap,
}

/// One RTP packet of it.
pub(super) struct Packet {
    pub(super) timestamp: i64,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

impl Recording {
    /// The next packet.
    pub(super) async fn next_packet(&mut self) -> Result<Packet, SourceError> {
        loop {
            match self.connection.next().await? {
                Message::Interleaved(0, data) => {
                    let Ok(packet) = rtp::Packet::parse(&data) else { continue };
                    let payload = data.slice_ref(packet.payload);
                    let Header { timestamp, marker, .. } = packet.header;
                    return Ok(Packet { timestamp: self.unwrap.next(timestamp), marker, payload });
                }
                // RTCP, whose times are not needed.
                Message::Interleaved(..) => {}
                Message::Request(request) => self.connection.answer(&request, "").await?,
            }
        }
    }
}

/// One track that ffmpeg takes.
pub(super) struct Playing {
    stream: TcpStream,
    sequence_number: u16,
    packet: Vec<u8>,
}

impl Playing {
    /// Sends one packet; waits while ffmpeg is busy.
    pub(super) async fn send(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) -> Result<(), SourceError> {
        self.discard_answers()?;
        let header = Header {
            payload_type: PAYLOAD_TYPE,
            marker,
            sequence_number: self.sequence_number,
            timestamp,
            ssrc: 1,
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.packet.clear();
        self.packet.extend_from_slice(b"$\0\0\0");
        rtp::write_header(&header, &[], &mut self.packet);
        self.packet.extend_from_slice(payload);
        let Ok(len) = u16::try_from(self.packet.len() - 4) else { return Ok(()) };
        self.packet[2..4].copy_from_slice(&len.to_be_bytes());
        self.stream.write_all(&self.packet).await.map_err(io_error)
    }

    /// ffmpeg reports what it received, and would block when nobody reads that.
    fn discard_answers(&self) -> Result<(), SourceError> {
        let mut scratch = [0; 1024];
        loop {
            match self.stream.try_read(&mut scratch) {
                Ok(0) => return Err(SourceError::Ended),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(io_error(error)),
            }
        }
    }
}

fn io_error(error: std::io::Error) -> SourceError {
    match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => SourceError::Ended,
        kind => SourceError::Io(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stray_connections_are_passed_over() {
        let loopback = Loopback::bind().await.unwrap();
        let url = loopback.url().unwrap();
        let address = loopback.listener.local_addr().unwrap();
        let connect = async |text: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        };
        let silent = connect("").await;
        let babbling = connect("\0\u{1}\u{2}\r\n\r\n").await;
        drop(connect("").await);
        let stranger = connect("PLAY rtsp://127.0.0.1/other RTSP/1.0\r\nCSeq: 1\r\n\r\n").await;
        let ours = connect(&format!("PLAY {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")).await;
        let track = TrackSdp::h265();
        let playing = timeout(Duration::from_secs(10), loopback.play(&track)).await;
        let playing = playing.unwrap().unwrap();
        assert_eq!(playing.stream.peer_addr().unwrap(), ours.local_addr().unwrap());
        drop((silent, babbling, stranger));
    }
}
