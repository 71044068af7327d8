//! One viewer's sound: packets of a camera become one RTP stream. Must not: own a socket.
//!
//! Source: RFC 3550 §5.1.

use std::time::Instant;

use super::{
    access_unit::AccessUnit,
    format::Codec,
    outbox::Outbox,
    rtcp::SenderInfo,
    sdp::write::Agreed,
    srtp::{RtpFields, RtpSender, SrtpError},
    transport_address::TransportAddress,
    wall_clock::WallClock,
};

/// See the module.
#[derive(Debug)]
pub struct AudioSender {
    agreed: Agreed,
    clock: WallClock,
    rtp: RtpSender,
    timestamp_offset: u32,
    newest: Option<(u32, Instant)>,
    packets: u32,
    octets: u32,
    /// The next packet begins a burst of talk (RFC 3551 §4.1).
    is_first: bool,
}

impl AudioSender {
    /// A sender of what was agreed on.
    pub fn new(agreed: Agreed, clock: WallClock, rtp: RtpSender, timestamp_offset: u32) -> Self {
        Self {
            agreed,
            clock,
            rtp,
            timestamp_offset,
            newest: None,
            packets: 0,
            octets: 0,
            is_first: true,
        }
    }

    /// What it sends.
    pub fn codec(&self) -> Codec {
        self.agreed.codec
    }

    /// Sends one unit of sound.
    ///
    /// # Errors
    /// When SRTP cannot go on.
    pub fn on_unit(
        &mut self,
        unit: &AccessUnit,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        let timestamp = (unit.time as u32).wrapping_add(self.timestamp_offset);
        let mid = self.agreed.extensions.mid.map(|id| (id, self.agreed.mid.as_bytes()));
        for payload in &unit.payloads {
            let marker = std::mem::take(&mut self.is_first);
            let fields = RtpFields { payload_type: self.agreed.payload_type, marker, timestamp };
            // The first packet says which section it is for, should the SSRC not be known yet.
            let extensions = if marker { mid.as_slice() } else { &[] };
            out.push(peer, |buffer| {
                self.rtp.seal(fields, extensions, &[payload], buffer).map(|_| ())
            })?;
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
        }
        self.newest = Some((timestamp, unit.arrived_at));
        Ok(())
    }

    /// What a sender report says at `now`; nothing before the first packet.
    pub fn report(&self, now: Instant) -> Option<SenderInfo> {
        let (timestamp, arrived_at) = self.newest?;
        let since = now.saturating_duration_since(arrived_at);
        let ticks = since.as_micros() * u128::from(self.agreed.codec.clock_rate_hz()) / 1_000_000;
        Some(SenderInfo {
            ssrc: self.rtp.ssrc(),
            ntp: self.clock.ntp(now),
            rtp_timestamp: timestamp.wrapping_add(ticks as u32),
            packets: self.packets,
            octets: self.octets,
        })
    }
}
