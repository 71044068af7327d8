//! The pure parts of the live plane: parsers, packetizers and the WHEP session.
//!
//! Must not: do I/O, spawn, or read a clock; time comes in as an argument.

pub mod access_unit;
pub mod annexb;
pub mod assemble;
pub mod backoff;
pub mod dtls;
pub mod format;
pub mod h264;
pub mod h265;
pub mod outbox;
pub mod packetize;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod srtp;
pub mod stun;
pub mod time_code;
pub mod timeline;
pub mod whep_session;
