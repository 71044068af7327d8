//! Session keys: their derivation, and one packet sealed or opened in place.
//!
//! Must not: choose or remember an index; that one is never used twice is up to the callers.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time::verify_slices_are_equal,
    hmac,
    iv::FixedLength,
};

use super::{Master, Profile, SrtpError};

const GCM_TAG_LEN: usize = 16;
const GCM_SALT_LEN: usize = 12;
const CM_TAG_LEN: usize = 10;
const CM_SALT_LEN: usize = 14;
const CM_AUTH_KEY_LEN: usize = 20;
/// What of an RTCP packet is not encrypted: the first header up to the SSRC.
pub(super) const RTCP_HEADER_LEN: usize = 8;
const RTCP_INDEX_LEN: usize = 4;
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// What session keys are for; the number is the first of their labels (RFC 3711 §4.3.1).
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Rtp = 0,
    Rtcp = 3,
}

/// Keys of one direction, for RTP or for RTCP.
pub(super) enum SessionKeys {
    Gcm { key: LessSafeKey, salt: [u8; GCM_SALT_LEN] },
    Cm(Box<CounterMode>),
}

/// AES in counter mode with HMAC-SHA1.
pub(super) struct CounterMode {
    key: EncryptingKey,
    auth: hmac::Key,
    salt: [u8; CM_SALT_LEN],
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(…)")
    }
}

impl SessionKeys {
    pub(super) fn derive(
        profile: Profile,
        master: Master<'_>,
        purpose: Purpose,
    ) -> Result<Self, SrtpError> {
        let [label, auth_label, salt_label] = [0, 1, 2].map(|n| purpose as u8 + n);
        let derive = |label, out: &mut [u8]| derive_into(profile, master, label, out);
        let mut key = vec![0; profile.key_len()];
        derive(label, &mut key)?;
        let gcm_algorithm = match profile {
            Profile::Aes128CmSha1_80 => {
                let mut auth = [0; CM_AUTH_KEY_LEN];
                derive(auth_label, &mut auth)?;
                let mut salt = [0; CM_SALT_LEN];
                derive(salt_label, &mut salt)?;
                let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth);
                let key = counter_mode(profile, &key)?;
                return Ok(Self::Cm(Box::new(CounterMode { key, auth, salt })));
            }
            Profile::Aes128Gcm => &AES_128_GCM,
            Profile::Aes256Gcm => &AES_256_GCM,
        };
        let mut salt = [0; GCM_SALT_LEN];
        derive(salt_label, &mut salt)?;
        let key = UnboundKey::new(gcm_algorithm, &key).map_err(|_| SrtpError::Cipher)?;
        Ok(Self::Gcm { key: LessSafeKey::new(key), salt })
    }

    fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG_LEN,
            Self::Cm(_) => CM_TAG_LEN,
        }
    }

    /// Seals the packet that begins at `start` of `out` and ends with it; its payload begins at
    /// `payload_at` of `out`. The index holds the roll-over counter and the sequence number.
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        (start, payload_at): (usize, usize),
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { key, salt } => {
                let (header, payload) = out[start..].split_at_mut(payload_at - start);
                let tag = key
                    .seal_in_place_separate_tag(
                        gcm_nonce(salt, ssrc, index),
                        Aad::from(&*header),
                        payload,
                    )
                    .map_err(|_| SrtpError::Cipher)?;
                out.extend_from_slice(tag.as_ref());
            }
            Self::Cm(cm) => {
                cm.apply(ssrc, index, &mut out[payload_at..])?;
                let tag = cm.tag(&out[start..], &roll_over_counter(index));
                out.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Opens a packet in place; gives its length without the tag.
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        payload_at: usize,
        packet: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let len = packet
            .len()
            .checked_sub(self.tag_len())
            .filter(|&len| len >= payload_at)
            .ok_or(SrtpError::NotAuthentic)?;
        match self {
            Self::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut(payload_at);
                key.open_in_place(gcm_nonce(salt, ssrc, index), Aad::from(&*header), sealed)
                    .map_err(|_| SrtpError::NotAuthentic)?;
            }
            Self::Cm(cm) => {
                let (packet, tag) = packet.split_at_mut(len);
                verify(&cm.tag(packet, &roll_over_counter(index)), tag)?;
                cm.apply(ssrc, index, &mut packet[payload_at..])?;
            }
        }
        Ok(len)
    }

    /// Seals the compound packet that begins at `start` of `out` and ends with it.
    ///
    /// The packet is at least [`RTCP_HEADER_LEN`] long, the index has 31 bits.
    pub(super) fn seal_rtcp(
        &self,
        ssrc: u32,
        index: u32,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SrtpError> {
        let trailer = (RTCP_ENCRYPTED | index).to_be_bytes();
        let body_at = start + RTCP_HEADER_LEN;
        match self {
            Self::Gcm { key, salt } => {
                let (header, body) = out[start..].split_at_mut(RTCP_HEADER_LEN);
                let aad = rtcp_aad(header, trailer);
                let tag = key
                    .seal_in_place_separate_tag(gcm_nonce(salt, ssrc, index.into()), aad, body)
                    .map_err(|_| SrtpError::Cipher)?;
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(&trailer);
            }
            Self::Cm(cm) => {
                cm.apply(ssrc, index.into(), &mut out[body_at..])?;
                out.extend_from_slice(&trailer);
                let tag = cm.tag(&out[start..], &[]);
                out.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// SSRC and index of a sealed RTCP packet, not authenticated yet.
    pub(super) fn peek_rtcp(&self, packet: &[u8]) -> Result<(u32, u32), SrtpError> {
        let peek = || {
            let trailer_end = match self {
                Self::Gcm { .. } => packet.len(),
                Self::Cm(_) => packet.len().checked_sub(CM_TAG_LEN)?,
            };
            let ssrc = u32::from_be_bytes(*packet.get(4..RTCP_HEADER_LEN)?.first_chunk()?);
            let trailer = u32::from_be_bytes(*packet.get(..trailer_end)?.last_chunk()?);
            let is_whole = packet.len() >= RTCP_HEADER_LEN + self.tag_len() + RTCP_INDEX_LEN;
            let is_encrypted = trailer & RTCP_ENCRYPTED != 0;
            (is_whole && is_encrypted).then_some((ssrc, trailer & !RTCP_ENCRYPTED))
        };
        peek().ok_or(SrtpError::NotAuthentic)
    }

    /// Opens a packet in place that [`Self::peek_rtcp`] has looked at; gives its length without tag and
    /// trailer.
    pub(super) fn open_rtcp(
        &self,
        (ssrc, index): (u32, u32),
        packet: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let len = packet.len() - self.tag_len() - RTCP_INDEX_LEN;
        match self {
            Self::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER_LEN);
                let (sealed, _) = rest.split_at_mut(rest.len() - RTCP_INDEX_LEN);
                let aad = rtcp_aad(header, (RTCP_ENCRYPTED | index).to_be_bytes());
                key.open_in_place(gcm_nonce(salt, ssrc, index.into()), aad, sealed)
                    .map_err(|_| SrtpError::NotAuthentic)?;
            }
            Self::Cm(cm) => {
                let (authentic, tag) = packet.split_at_mut(len + RTCP_INDEX_LEN);
                verify(&cm.tag(authentic, &[]), tag)?;
                let body = &mut authentic[RTCP_HEADER_LEN..len];
                cm.apply(ssrc, index.into(), body)?;
            }
        }
        Ok(len)
    }
}

impl CounterMode {
    /// Encrypts or decrypts (RFC 3711 §4.1.1).
    fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) -> Result<(), SrtpError> {
        // The last two bytes count blocks.
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        iv.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        apply_keystream(&self.key, iv, data)
    }

    /// RFC 3711 §4.2.1.
    fn tag(&self, packet: &[u8], suffix: &[u8]) -> [u8; CM_TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(packet);
        context.update(suffix);
        *context.sign().as_ref().first_chunk().expect("HMAC-SHA1 is 20 bytes")
    }
}

/// RFC 7714 §8.1 and §9.1: an RTCP index fills the low bits of the same field.
fn gcm_nonce(salt: &[u8; GCM_SALT_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; GCM_SALT_LEN];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    nonce.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    Nonce::assume_unique_for_key(nonce)
}

fn roll_over_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 §9.2: the header, then the trailer although it stands at the end of the packet.
fn rtcp_aad(
    header: &[u8],
    trailer: [u8; RTCP_INDEX_LEN],
) -> Aad<[u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN]> {
    let mut aad = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&trailer);
    Aad::from(aad)
}

fn verify(expected: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
    verify_slices_are_equal(expected, tag).map_err(|_| SrtpError::NotAuthentic)
}

fn counter_mode(profile: Profile, key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = match profile {
        Profile::Aes128CmSha1_80 | Profile::Aes128Gcm => &AES_128,
        Profile::Aes256Gcm => &AES_256,
    };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| SrtpError::Cipher)
}

fn apply_keystream(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|_| SrtpError::Cipher)?;
    Ok(())
}

/// AES-CM key derivation with a key derivation rate of 0 (RFC 3711 §4.3.3).
fn derive_into(
    profile: Profile,
    (key, salt): Master<'_>,
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    apply_keystream(&counter_mode(profile, key)?, iv, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sansio::rtp;

    fn unhex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn key_derivation_gives_the_vectors_of_rfc_3711() {
        // Appendix B.3.
        let master = unhex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = unhex("0EC675AD498AFEEBB6960B3AABE6");
        let check = |label, expected: &str| {
            let mut derived = vec![0; expected.len() / 2];
            derive_into(Profile::Aes128CmSha1_80, (&master, &salt), label, &mut derived).unwrap();
            assert_eq!(derived, unhex(expected));
        };
        check(0, "C61E7A93744F39EE10734AFE3FF7A087");
        check(1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
        check(2, "30CBBC08863D8C85D49DB34A9AE1");
    }

    #[test]
    fn the_counter_mode_keystream_is_that_of_rfc_3711() {
        // Appendix B.2: SSRC and index are 0.
        let key = unhex("2B7E151628AED2A6ABF7158809CF4F3C");
        let key = counter_mode(Profile::Aes128CmSha1_80, &key).unwrap();
        let salt = unhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[0; CM_AUTH_KEY_LEN]);
        let mut keystream = [0; 32];
        CounterMode { key, auth, salt }.apply(0, 0, &mut keystream).unwrap();
        let expected = "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab";
        assert_eq!(hex::encode(keystream), expected);
    }

    #[test]
    fn aes_128_gcm_seals_the_packet_of_rfc_7714() {
        // §16.1.1.
        let key =
            UnboundKey::new(&AES_128_GCM, &unhex("000102030405060708090a0b0c0d0e0f")).unwrap();
        let salt = unhex("517569642070726f2071756f").try_into().unwrap();
        let keys = SessionKeys::Gcm { key: LessSafeKey::new(key), salt };
        let header = rtp::Header {
            payload_type: 0x40,
            marker: false,
            sequence_number: 0xf17b,
            timestamp: 0x8041_f8d3,
            ssrc: 0x5501_a0b2,
        };
        let mut packet = Vec::new();
        rtp::write_header(&header, &[], &mut packet);
        packet.extend(b"Gallia est omnis divisa in partes tres");
        keys.seal_rtp(header.ssrc, 0xf17b, (0, 12), &mut packet).unwrap();
        let expected = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f\
                        42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce";
        assert_eq!(hex::encode(packet), expected);
    }
}
