//! SRTP and SRTCP of one DTLS association, both directions.
//!
//! Must not: let a (key, SSRC, index) be used twice. What seals owns its index, which only grows and is
//! part of every nonce; splitting the master keys gives each of those values once, and there is no way
//! to copy one or to set it back.
//!
//! Source: RFC 3711, RFC 5764 §4.2 (keys from DTLS), RFC 7714 (AES-GCM), RFC 6188 (AES-256 derivation).

mod keys;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use keys::{Purpose, SessionKeys};
pub use receive::{MAX_SSRCS, RtcpReceiver, RtpReceiver};
pub use send::{RtcpSender, RtpFields, RtpSender, RtpSenders};

/// Longest that a packet grows by being sealed, in bytes: SRTCP with AES-GCM.
pub const MAX_OVERHEAD_LEN: usize = 16 + 4;

/// Protection profile agreed on by DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2): several times slower, for peers without GCM.
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714 §14.2).
    Aes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714 §14.2).
    Aes256Gcm,
}

impl Profile {
    fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }

    fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }

    /// How much keying material DTLS has to export, in bytes.
    pub fn exported_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// Our side of the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We sent the ClientHello.
    Client,
    /// The peer sent it.
    Server,
}

/// Why SRTP cannot be set up, or a packet not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The exported keying material is shorter than the profile needs.
    #[error("DTLS exported too little keying material")]
    ShortKeyingMaterial,
    /// The cryptographic library refused.
    #[error("SRTP cipher failure")]
    Cipher,
    /// Too short, malformed, not encrypted, or not authentic.
    #[error("SRTP packet is not authentic")]
    NotAuthentic,
    /// It came before, or is too old to tell.
    #[error("SRTP packet is a replay")]
    Replayed,
    /// The peer sends more than [`MAX_SSRCS`] streams.
    #[error("SRTP peer sends too many streams")]
    TooManySsrcs,
    /// There was a sender for this SSRC already.
    #[error("SRTP sender of this SSRC exists")]
    SsrcTaken,
    /// What is to be sealed has no RTCP header.
    #[error("not an RTCP packet")]
    NotRtcp,
    /// All indices were used: 2^48 RTP packets of an SSRC, or 2^31 RTCP packets.
    #[error("SRTP key is used up")]
    KeyExhausted,
}

/// Master key and salt of one direction.
type Master<'a> = (&'a [u8], &'a [u8]);

/// Master keys and salts of both directions. Not `Clone`, see the module.
pub struct MasterKeys<'a> {
    profile: Profile,
    ours: Master<'a>,
    theirs: Master<'a>,
}

/// All that seals and opens for one DTLS association.
#[derive(Debug)]
pub struct Endpoint {
    /// Gives the sender of each SSRC.
    pub rtp_senders: RtpSenders,
    /// Seals our RTCP.
    pub rtcp_sender: RtcpSender,
    /// Opens the peer's RTP.
    pub rtp_receiver: RtpReceiver,
    /// Opens the peer's RTCP.
    pub rtcp_receiver: RtcpReceiver,
}

impl<'a> MasterKeys<'a> {
    /// Splits what DTLS exported under `EXTRACTOR-dtls_srtp`. To be called once per association.
    ///
    /// # Errors
    /// When it is too short.
    pub fn split(profile: Profile, exported: &'a [u8], role: DtlsRole) -> Result<Self, SrtpError> {
        if exported.len() < profile.exported_len() {
            return Err(SrtpError::ShortKeyingMaterial);
        }
        let (client_key, rest) = exported.split_at(profile.key_len());
        let (server_key, rest) = rest.split_at(profile.key_len());
        let (client_salt, rest) = rest.split_at(profile.salt_len());
        let client = (client_key, client_salt);
        let server = (server_key, &rest[..profile.salt_len()]);
        let (ours, theirs) = match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Ok(Self { profile, ours, theirs })
    }

    /// Derives the session keys of both directions.
    ///
    /// # Errors
    /// When a cipher cannot be set up.
    pub fn into_endpoint(self) -> Result<Endpoint, SrtpError> {
        let derive = |master, purpose| SessionKeys::derive(self.profile, master, purpose);
        Ok(Endpoint {
            rtp_senders: RtpSenders::new(Arc::new(derive(self.ours, Purpose::Rtp)?)),
            rtcp_sender: RtcpSender::new(derive(self.ours, Purpose::Rtcp)?),
            rtp_receiver: RtpReceiver::new(derive(self.theirs, Purpose::Rtp)?),
            rtcp_receiver: RtcpReceiver::new(derive(self.theirs, Purpose::Rtcp)?),
        })
    }
}
