//! Sealing: one monotonic index per SSRC for RTP, one for all of RTCP.
//!
//! Must not: give a way to copy an index or set it back, outside tests.

use std::sync::Arc;

use super::{
    SrtpError,
    keys::{RTCP_HEADER_LEN, SessionKeys},
};
use crate::sansio::rtp;

/// Gives one [`RtpSender`] per SSRC; they share the expanded key.
///
/// The SSRC is part of the nonce, so that senders of different SSRCs cannot meet.
#[derive(Debug)]
pub struct RtpSenders {
    keys: Arc<SessionKeys>,
    /// All that were ever given out.
    ssrcs: Vec<u32>,
}

impl RtpSenders {
    pub(super) fn new(keys: Arc<SessionKeys>) -> Self {
        Self { keys, ssrcs: Vec::new() }
    }

    /// The sender of `ssrc`, once.
    ///
    /// `first_sequence_number` should be random (RFC 3550 §5.1); its highest bit is not used, so that a
    /// receiver that misses the first packets cannot mistake the roll-over counter (RFC 3711 §3.3.1).
    ///
    /// # Errors
    /// [`SrtpError::SsrcTaken`] the second time.
    pub fn sender(
        &mut self,
        ssrc: u32,
        first_sequence_number: u16,
    ) -> Result<RtpSender, SrtpError> {
        if self.ssrcs.contains(&ssrc) {
            return Err(SrtpError::SsrcTaken);
        }
        self.ssrcs.push(ssrc);
        let index = u64::from(first_sequence_number & 0x7fff);
        Ok(RtpSender { keys: self.keys.clone(), ssrc, index })
    }
}

/// What the caller decides of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpFields {
    /// 7 bits.
    pub payload_type: u8,
    /// For video: last packet of an access unit.
    pub marker: bool,
    /// In ticks of the payload type's clock.
    pub timestamp: u32,
}

/// Seals the RTP packets of one SSRC. Not `Clone`: the index must not be used twice.
#[derive(Debug)]
pub struct RtpSender {
    keys: Arc<SessionKeys>,
    ssrc: u32,
    /// Roll-over counter and sequence number of the next packet: 48 bits in use.
    index: u64,
}

impl RtpSender {
    /// The stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Sequence number of the next packet.
    pub fn next_sequence_number(&self) -> u16 {
        self.index as u16
    }

    /// Appends one SRTP packet to `out`: header with `extensions` (as [`rtp::write_header`] takes them),
    /// the sealed `payload_parts` back to back, tag. Gives the sequence number used.
    ///
    /// # Errors
    /// [`SrtpError::KeyExhausted`] after 2^48 packets. `out` may then end with part of a packet.
    pub fn seal(
        &mut self,
        fields: RtpFields,
        extensions: &[(u8, &[u8])],
        payload_parts: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<u16, SrtpError> {
        let index = self.index;
        if index >> 48 != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        self.index += 1;

        let RtpFields { payload_type, marker, timestamp } = fields;
        let sequence_number = index as u16;
        let header =
            rtp::Header { payload_type, marker, sequence_number, timestamp, ssrc: self.ssrc };
        let start = out.len();
        rtp::write_header(&header, extensions, out);
        let payload_at = out.len();
        for part in payload_parts {
            out.extend_from_slice(part);
        }
        self.keys.seal_rtp(self.ssrc, index, (start, payload_at), out)?;
        Ok(sequence_number)
    }

    /// Goes on as if packets had been sent, forwards only.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, index: u64) {
        assert!(index >= self.index);
        self.index = index;
    }
}

/// Seals our RTCP packets, whatever SSRC they begin with. Not `Clone`: the index must not be used twice.
#[derive(Debug)]
pub struct RtcpSender {
    keys: SessionKeys,
    /// Index of the next packet: 31 bits in use.
    index: u32,
}

impl RtcpSender {
    pub(super) fn new(keys: SessionKeys) -> Self {
        Self { keys, index: 0 }
    }

    /// Appends one SRTCP packet to `out`.
    ///
    /// # Errors
    /// [`SrtpError::KeyExhausted`] after 2^31 packets; [`SrtpError::NotRtcp`] when `compound` is shorter
    /// than a header with its SSRC.
    pub fn seal(&mut self, compound: &[u8], out: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header: &[u8; RTCP_HEADER_LEN] = compound.first_chunk().ok_or(SrtpError::NotRtcp)?;
        let [.., s0, s1, s2, s3] = *header;
        let index = self.index;
        if index >> 31 != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        self.index += 1;
        let start = out.len();
        out.extend_from_slice(compound);
        self.keys.seal_rtcp(u32::from_be_bytes([s0, s1, s2, s3]), index, start, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sansio::srtp::{DtlsRole, Endpoint, MasterKeys, Profile};

    const FIELDS: RtpFields = RtpFields { payload_type: 96, marker: false, timestamp: 0 };

    fn endpoint() -> Endpoint {
        let keys = MasterKeys::split(Profile::Aes128Gcm, &[7; 56], DtlsRole::Server).unwrap();
        keys.into_endpoint().unwrap()
    }

    #[test]
    fn an_ssrc_has_one_sender_only() {
        let mut senders = endpoint().rtp_senders;
        let first = senders.sender(1, 0).unwrap();
        assert_eq!(senders.sender(1, 100).map(|_| ()), Err(SrtpError::SsrcTaken));
        drop(first);
        assert_eq!(senders.sender(1, 100).map(|_| ()), Err(SrtpError::SsrcTaken));
        assert!(senders.sender(2, 0).is_ok());
    }

    #[test]
    fn the_first_sequence_number_has_fifteen_bits() {
        let mut sender = endpoint().rtp_senders.sender(1, 0xffff).unwrap();
        assert_eq!(sender.next_sequence_number(), 0x7fff);
        assert_eq!(sender.seal(FIELDS, &[], &[b"media"], &mut Vec::new()), Ok(0x7fff));
        assert_eq!(sender.next_sequence_number(), 0x8000);
    }

    #[test]
    fn a_used_up_key_seals_no_more() {
        let Endpoint { mut rtp_senders, mut rtcp_sender, .. } = endpoint();
        let mut sender = rtp_senders.sender(1, 0).unwrap();
        sender.skip_to((1 << 48) - 1);
        assert_eq!(sender.seal(FIELDS, &[], &[b"last"], &mut Vec::new()), Ok(0xffff));
        let one_more = sender.seal(FIELDS, &[], &[b"one more"], &mut Vec::new());
        assert_eq!(one_more, Err(SrtpError::KeyExhausted));

        rtcp_sender.index = (1 << 31) - 1;
        assert_eq!(rtcp_sender.seal(&[0x80; 8], &mut Vec::new()), Ok(()));
        let one_more = rtcp_sender.seal(&[0x80; 8], &mut Vec::new());
        assert_eq!(one_more, Err(SrtpError::KeyExhausted));
    }

    #[test]
    fn what_is_no_rtcp_is_not_sealed() {
        let mut out = Vec::new();
        assert_eq!(endpoint().rtcp_sender.seal(&[0x80; 7], &mut out), Err(SrtpError::NotRtcp));
        assert!(out.is_empty());
    }
}
