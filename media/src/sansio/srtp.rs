//! SRTP and SRTCP with AES-GCM, one direction each.
//!
//! Must not: let a (key, SSRC, index) be used twice. The packet index lives in the value that holds the
//! key, only grows, and is part of every nonce; there is no way to set it back.
//!
//! Source: RFC 3711 §4.3 (key derivation), RFC 7714 (AES-GCM), RFC 6188 (AES-256 derivation).

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
};

/// Length of the authentication tag, in bytes.
pub const TAG_LEN: usize = 16;
const SALT_LEN: usize = 12;

/// AEAD profile agreed on by DTLS (RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `AEAD_AES_128_GCM`
    Aes128Gcm,
    /// `AEAD_AES_256_GCM`
    Aes256Gcm,
}

impl Profile {
    fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }
}

/// Why SRTP cannot be set up or a packet not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The exported keying material is shorter than the profile needs.
    #[error("DTLS exported too little keying material")]
    ShortKeyingMaterial,
    /// The cryptographic library refused.
    #[error("SRTP cipher failure")]
    Cipher,
    /// Too short, or not authentic.
    #[error("SRTCP packet is not authentic")]
    NotAuthentic,
    /// 2^48 packets were sent with this key.
    #[error("SRTP key is used up")]
    KeyExhausted,
}

/// Master keys and salts of both directions (RFC 5764 §4.2).
#[derive(Debug)]
pub struct MasterKeys<'a> {
    profile: Profile,
    client: (&'a [u8], &'a [u8]),
    server: (&'a [u8], &'a [u8]),
}

impl<'a> MasterKeys<'a> {
    /// Splits what DTLS exported under `EXTRACTOR-dtls_srtp`.
    ///
    /// # Errors
    /// When it is too short.
    pub fn split(profile: Profile, exported: &'a [u8]) -> Result<Self, SrtpError> {
        let key_len = profile.key_len();
        if exported.len() < 2 * (key_len + SALT_LEN) {
            return Err(SrtpError::ShortKeyingMaterial);
        }
        let (client_key, rest) = exported.split_at(key_len);
        let (server_key, rest) = rest.split_at(key_len);
        let (client_salt, rest) = rest.split_at(SALT_LEN);
        Ok(Self {
            profile,
            client: (client_key, client_salt),
            server: (server_key, &rest[..SALT_LEN]),
        })
    }

    /// Seals one SSRC's RTP as the DTLS server.
    ///
    /// # Errors
    /// When the cipher cannot be set up.
    pub fn rtp_sender(&self, ssrc: u32) -> Result<RtpSender, SrtpError> {
        let keys = SessionKeys::derive(self.profile, self.server, LABEL_RTP)?;
        Ok(RtpSender { keys, ssrc, index: 0 })
    }

    /// Opens the RTCP that the DTLS client sends.
    ///
    /// # Errors
    /// When the cipher cannot be set up.
    pub fn rtcp_receiver(&self) -> Result<RtcpReceiver, SrtpError> {
        Ok(RtcpReceiver { keys: SessionKeys::derive(self.profile, self.client, LABEL_RTCP)? })
    }
}

const LABEL_RTP: u8 = 0;
const LABEL_RTCP: u8 = 3;

struct SessionKeys {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(…)")
    }
}

impl SessionKeys {
    /// Keys of label `label` (encryption) and `label + 2` (salt).
    fn derive(profile: Profile, master: (&[u8], &[u8]), label: u8) -> Result<Self, SrtpError> {
        let mut key = vec![0; profile.key_len()];
        derive_into(profile, master, label, &mut key)?;
        let mut salt = [0; SALT_LEN];
        derive_into(profile, master, label + 2, &mut salt)?;
        let algorithm = match profile {
            Profile::Aes128Gcm => &AES_128_GCM,
            Profile::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, &key).map_err(|_| SrtpError::Cipher)?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    fn nonce(&self, input: [u8; SALT_LEN]) -> Nonce {
        let mut nonce = input;
        nonce.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// AES-CM key derivation with a key derivation rate of 0 (RFC 3711 §4.3.3).
fn derive_into(
    profile: Profile,
    (key, salt): (&[u8], &[u8]),
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    let algorithm = match profile {
        Profile::Aes128Gcm => &AES_128,
        Profile::Aes256Gcm => &AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| SrtpError::Cipher)?;
    out.fill(0);
    key.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|_| SrtpError::Cipher)?;
    Ok(())
}

/// Seals the RTP packets of one SSRC. Not `Clone`: the index must not be used twice.
#[derive(Debug)]
pub struct RtpSender {
    keys: SessionKeys,
    ssrc: u32,
    /// Roll-over counter and sequence number of the next packet: 48 bits in use.
    index: u64,
}

impl RtpSender {
    /// Sequence number of the next packet.
    pub fn next_sequence_number(&self) -> u16 {
        self.index as u16
    }

    /// Appends one SRTP packet to `out`: 12-byte header, sealed payload, tag.
    ///
    /// # Errors
    /// [`SrtpError::KeyExhausted`] after 2^48 packets.
    pub fn seal(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let index = self.index;
        if index >> 48 != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        self.index += 1;

        let header_at = out.len();
        out.extend_from_slice(&[0x80, u8::from(marker) << 7 | payload_type & 0x7f]);
        out.extend_from_slice(&(index as u16).to_be_bytes());
        out.extend_from_slice(&timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let payload_at = out.len();
        out.extend_from_slice(payload);

        let mut input = [0; SALT_LEN];
        input[2..6].copy_from_slice(&self.ssrc.to_be_bytes());
        input[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
        let nonce = self.keys.nonce(input);
        let (header, sealed) = out[header_at..].split_at_mut(payload_at - header_at);
        let tag = self
            .keys
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), sealed)
            .map_err(|_| SrtpError::Cipher)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

/// Opens the RTCP packets of a peer.
#[derive(Debug)]
pub struct RtcpReceiver {
    keys: SessionKeys,
}

impl RtcpReceiver {
    /// Opens one SRTCP packet in place; gives the compound RTCP packet.
    ///
    /// # Errors
    /// [`SrtpError::NotAuthentic`].
    pub fn open<'a>(&self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        const HEADER_LEN: usize = 8;
        const TRAILER_LEN: usize = 4;
        if packet.len() < HEADER_LEN + TAG_LEN + TRAILER_LEN {
            return Err(SrtpError::NotAuthentic);
        }
        let (body, trailer) = packet.split_at_mut(packet.len() - TRAILER_LEN);
        let trailer = <[u8; 4]>::try_from(&*trailer).expect("split at four bytes");
        let is_encrypted = trailer[0] & 0x80 != 0;
        if !is_encrypted {
            return Err(SrtpError::NotAuthentic);
        }
        let index = u32::from_be_bytes(trailer) & 0x7fff_ffff;
        let mut input = [0; SALT_LEN];
        input[2..6].copy_from_slice(&body[4..8]);
        input[8..12].copy_from_slice(&index.to_be_bytes());
        let nonce = self.keys.nonce(input);
        let mut aad = [0; HEADER_LEN + TRAILER_LEN];
        aad[..HEADER_LEN].copy_from_slice(&body[..HEADER_LEN]);
        aad[HEADER_LEN..].copy_from_slice(&trailer);
        let opened_len = self
            .keys
            .key
            .open_in_place(nonce, Aad::from(aad), &mut body[HEADER_LEN..])
            .map_err(|_| SrtpError::NotAuthentic)?
            .len();
        Ok(&body[..HEADER_LEN + opened_len])
    }
}

/// The receiving end of [`RtpSender`], for tests.
#[cfg(test)]
pub(crate) struct RtpReceiver(SessionKeys);

/// One opened packet.
#[cfg(test)]
pub(crate) struct RtpPacket {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: Vec<u8>,
}

#[cfg(test)]
impl RtpReceiver {
    pub(crate) fn new(keys: &MasterKeys<'_>) -> Self {
        Self(SessionKeys::derive(keys.profile, keys.server, LABEL_RTP).unwrap())
    }

    pub(crate) fn open(&self, packet: &[u8]) -> RtpPacket {
        let (header, sealed) = packet.split_at(12);
        let u32_at = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let sequence_number = u16::from_be_bytes([header[2], header[3]]);
        let mut input = [0; SALT_LEN];
        input[2..6].copy_from_slice(&header[8..12]);
        input[10..12].copy_from_slice(&header[2..4]);
        let mut payload = sealed.to_vec();
        let len = self
            .0
            .key
            .open_in_place(self.0.nonce(input), Aad::from(header), &mut payload)
            .expect("authentic SRTP")
            .len();
        payload.truncate(len);
        RtpPacket {
            payload_type: header[1] & 0x7f,
            marker: header[1] & 0x80 != 0,
            sequence_number,
            timestamp: u32_at(4),
            ssrc: u32_at(8),
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn key_derivation_gives_the_vectors_of_rfc_3711() {
        // Appendix B.3.
        let master = unhex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = unhex("0EC675AD498AFEEBB6960B3AABE6");
        let mut key = [0; 16];
        derive_into(Profile::Aes128Gcm, (&master, &salt), LABEL_RTP, &mut key).unwrap();
        assert_eq!(key.to_vec(), unhex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut session_salt = [0; 14];
        derive_into(Profile::Aes128Gcm, (&master, &salt), LABEL_RTP + 2, &mut session_salt)
            .unwrap();
        assert_eq!(session_salt.to_vec(), unhex("30CBBC08863D8C85D49DB34A9AE1"));
    }

    #[test]
    fn aes_128_gcm_seals_the_packet_of_rfc_7714() {
        // §16.1.1.
        let key =
            UnboundKey::new(&AES_128_GCM, &unhex("000102030405060708090a0b0c0d0e0f")).unwrap();
        let keys = SessionKeys {
            key: LessSafeKey::new(key),
            salt: unhex("517569642070726f2071756f").try_into().unwrap(),
        };
        let mut sender = RtpSender { keys, ssrc: 0x5501_a0b2, index: 0xf17b };
        let mut sealed = Vec::new();
        sender
            .seal(0x40, false, 0x8041_f8d3, b"Gallia est omnis divisa in partes tres", &mut sealed)
            .unwrap();
        let expected = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f\
                        42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce";
        assert_eq!(hex::encode(sealed), expected);
    }

    #[test]
    fn no_nonce_is_ever_used_twice() {
        let exported = [7; 56];
        let keys = MasterKeys::split(Profile::Aes128Gcm, &exported).unwrap();
        let mut sender = keys.rtp_sender(1).unwrap();
        let mut seen = std::collections::HashSet::new();
        // Past a roll-over of the sequence number; equal plaintexts would give equal packets.
        for n in 0..70_000u32 {
            let mut out = Vec::new();
            assert_eq!(sender.next_sequence_number(), n as u16);
            sender.seal(96, false, 0, b"same", &mut out).unwrap();
            assert!(seen.insert(out.split_off(12)), "packet {n} repeats a nonce");
        }
    }

    #[test]
    fn a_used_up_key_seals_no_more() {
        let keys = MasterKeys::split(Profile::Aes128Gcm, &[7; 56]).unwrap();
        let mut sender = keys.rtp_sender(1).unwrap();
        sender.index = (1 << 48) - 1;
        assert_eq!(sender.seal(96, false, 0, b"last", &mut Vec::new()), Ok(()));
        assert_eq!(
            sender.seal(96, false, 0, b"one more", &mut Vec::new()),
            Err(SrtpError::KeyExhausted)
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_rtcp_is_refused(mut packet in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
            let exported = [7; 88];
            let keys = MasterKeys::split(Profile::Aes256Gcm, &exported).unwrap();
            proptest::prop_assert_eq!(keys.rtcp_receiver().unwrap().open(&mut packet), Err(SrtpError::NotAuthentic));
        }
    }
}
