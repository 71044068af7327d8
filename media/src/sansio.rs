//! The pure parts of the live plane: parsers, packetizers and the WHEP session.
//!
//! Must not: do I/O, spawn, or read a clock; time comes in as an argument.

pub mod access_unit;
pub mod annexb;
pub mod assemble;
pub mod audio_sender;
pub mod backoff;
pub mod depacketize;
pub mod descriptor;
pub mod dtls;
pub mod ffprobe;
pub mod format;
pub mod framing;
pub mod h264;
pub mod h265;
pub mod layer_choice;
pub mod outbox;
pub mod packetize;
pub mod reorder;
pub mod rtcp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod srtp;
pub mod stun;
pub mod time_code;
pub mod timeline;
pub mod track_sdp;
pub mod transport;
pub mod transport_address;
pub mod video_sender;
pub mod wall_clock;
pub mod whep_answer;
pub mod whep_session;
pub mod whip_sdp;
pub mod whip_session;
