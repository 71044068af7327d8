//! H.264 as RTP carries it: NAL unit types, payload inspection, parameter sets.
//!
//! Must not: fragment (that is `packetize`) or order packets (that is `assemble`).
//!
//! Source: RFC 6184 §5, ITU-T H.264 §7.4.1.

use bytes::Bytes;
use domain::VideoParameters;
use h264_reader::nal::{Nal, RefNal, sps::SeqParameterSet};

/// Coded slice of a non-IDR picture.
pub const NAL_SLICE: u8 = 1;
/// Coded slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// Supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// Picture parameter set.
pub const NAL_PPS: u8 = 8;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 9;
/// Filler data.
pub const NAL_FILLER: u8 = 12;
/// Aggregation packet of whole NAL units (RFC 6184 §5.7.1).
pub const STAP_A: u8 = 24;
/// Fragment of a NAL unit (RFC 6184 §5.8).
pub const FU_A: u8 = 28;

/// `nal_unit_type` of a NAL unit or RTP payload; 0 when it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// Whether an RTP payload holds nothing that a decoder needs: a delimiter, which the marker bit makes
/// superfluous, or (part of) filler data.
pub fn is_dispensable(payload: &[u8]) -> bool {
    match (nal_type(payload), payload) {
        (NAL_AUD | NAL_FILLER, _) => true,
        (FU_A, [_, header, ..]) => header & 0x1f == NAL_FILLER,
        _ => false,
    }
}

/// A payload or a NAL unit that does not follow its RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// A payload shorter than its own headers.
    #[error("H.264 payload ends inside its header")]
    Truncated,
    /// A fragment that continues nothing, or a new unit inside an unfinished one.
    #[error("H.264 fragment without its beginning or end")]
    BrokenFragment,
    /// A packet type this camera should not use (interleaved mode, reserved).
    #[error("H.264 packet type {0} is not supported")]
    UnsupportedType(u8),
    /// The sequence parameter set cannot be read.
    #[error("unreadable sequence parameter set")]
    BadSps,
}

/// Splits the payloads of one access unit into its NAL units.
///
/// # Errors
/// When a payload breaks RFC 6184; a decoder could not use the access unit either.
pub fn nals_of_payloads(payloads: &[Bytes]) -> Result<Vec<Bytes>, H264Error> {
    let mut nals = Vec::with_capacity(payloads.len());
    let mut fragment: Option<Vec<u8>> = None;
    for payload in payloads {
        match nal_type(payload) {
            1..=23 => {
                if fragment.is_some() {
                    return Err(H264Error::BrokenFragment);
                }
                nals.push(payload.clone());
            }
            STAP_A => {
                if fragment.is_some() {
                    return Err(H264Error::BrokenFragment);
                }
                let mut at = 1;
                while at < payload.len() {
                    let len_bytes = payload.get(at..at + 2).ok_or(H264Error::Truncated)?;
                    let len = usize::from(u16::from_be_bytes([len_bytes[0], len_bytes[1]]));
                    if len == 0 || at + 2 + len > payload.len() {
                        return Err(H264Error::Truncated);
                    }
                    nals.push(payload.slice(at + 2..at + 2 + len));
                    at += 2 + len;
                }
            }
            FU_A => {
                let [indicator, header, rest @ ..] = &payload[..] else {
                    return Err(H264Error::Truncated);
                };
                let (is_start, is_end) = (header & 0x80 != 0, header & 0x40 != 0);
                match (&mut fragment, is_start) {
                    (None, true) => {
                        let mut nal = vec![indicator & 0xe0 | header & 0x1f];
                        nal.extend_from_slice(rest);
                        fragment = Some(nal);
                    }
                    (Some(nal), false) => nal.extend_from_slice(rest),
                    _ => return Err(H264Error::BrokenFragment),
                }
                if is_end && let Some(nal) = fragment.take() {
                    nals.push(nal.into());
                }
            }
            0 if payload.is_empty() => return Err(H264Error::Truncated),
            other => return Err(H264Error::UnsupportedType(other)),
        }
    }
    if fragment.is_some() { Err(H264Error::BrokenFragment) } else { Ok(nals) }
}

/// What an access unit holds, seen without reassembling it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Part of a picture that a decoder can start at: H.264's IDR, H.265's IRAP.
    pub has_idr: bool,
    /// Part of any coded picture.
    pub has_slice: bool,
}

impl Contents {
    fn note(&mut self, nal_type: u8) {
        self.has_idr |= nal_type == NAL_IDR;
        self.has_slice |= (NAL_SLICE..=NAL_IDR).contains(&nal_type);
    }

    /// Adds what one RTP payload holds, calling `on_parameter_set` with each whole SPS and PPS.
    pub fn inspect(&mut self, payload: &Bytes, mut on_parameter_set: impl FnMut(Bytes)) {
        match nal_type(payload) {
            FU_A => {
                if let Some(header) = payload.get(1) {
                    self.note(header & 0x1f);
                }
            }
            STAP_A => {
                let mut at = 1;
                while let Some(len) = payload.get(at..at + 2) {
                    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
                    if len == 0 || at + 2 + len > payload.len() {
                        break;
                    }
                    let nal = payload.slice(at + 2..at + 2 + len);
                    self.note(nal_type(&nal));
                    if matches!(nal_type(&nal), NAL_SPS | NAL_PPS) {
                        on_parameter_set(nal);
                    }
                    at += 2 + len;
                }
            }
            single => {
                self.note(single);
                if matches!(single, NAL_SPS | NAL_PPS) {
                    on_parameter_set(payload.clone());
                }
            }
        }
    }
}

/// The sequence and picture parameter sets a decoder needs before the first slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// SPS NAL unit, header included.
    pub sps: Option<Bytes>,
    /// PPS NAL unit, header included.
    pub pps: Option<Bytes>,
}

impl ParameterSets {
    /// Keeps the newest of its kind; any other NAL unit is ignored.
    pub fn update(&mut self, nal: Bytes) {
        match nal_type(&nal) {
            NAL_SPS => self.sps = Some(nal),
            NAL_PPS => self.pps = Some(nal),
            _ => {}
        }
    }

    /// The first SPS and PPS of an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1).
    pub fn of_avcc(record: &[u8]) -> Self {
        fn take<'a>(at: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
            let (head, tail) = at.split_at_checked(len)?;
            *at = tail;
            Some(head)
        }
        fn sets(at: &mut &[u8], count: u8, found: &mut ParameterSets) -> Option<()> {
            for _ in 0..count {
                let len = take(at, 2)?;
                let nal = take(at, usize::from(u16::from_be_bytes([len[0], len[1]])))?;
                found.update(Bytes::copy_from_slice(nal));
            }
            Some(())
        }
        let mut found = Self::default();
        let mut at = record;
        let _complete = (|| {
            let head = take(&mut at, 6)?;
            sets(&mut at, head[5] & 0x1f, &mut found)?;
            let count = take(&mut at, 1)?[0];
            sets(&mut at, count, &mut found)
        })();
        found
    }

    /// Codec string and picture size.
    ///
    /// # Errors
    /// When there is no SPS or it cannot be read.
    pub fn video_parameters(&self) -> Result<VideoParameters, H264Error> {
        let sps = self.sps.as_ref().filter(|sps| sps.len() >= 4).ok_or(H264Error::BadSps)?;
        let parsed = SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits())
            .map_err(|_| H264Error::BadSps)?;
        let (width_px, height_px) = parsed.pixel_dimensions().map_err(|_| H264Error::BadSps)?;
        let codec = format!("avc1.{:02x}{:02x}{:02x}", sps[1], sps[2], sps[3]);
        Ok(VideoParameters { codec, width_px, height_px })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SPS of a 1280x720 constrained-baseline stream made by x264.
    pub(crate) const SPS_720P: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xba, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x24, 0x80,
    ];

    #[test]
    fn video_parameters_come_from_the_sps() {
        let sets = ParameterSets { sps: Some(Bytes::from_static(SPS_720P)), pps: None };
        let video = sets.video_parameters().unwrap();
        assert_eq!((video.width_px, video.height_px), (1280, 720));
        assert_eq!(video.codec, "avc1.42c01f");
    }

    #[test]
    fn aggregated_parameter_sets_are_found() {
        let mut payload = vec![STAP_A, 0, 2, NAL_SPS, 9, 0, 3, NAL_PPS, 8, 7, 0, 2, NAL_IDR, 1];
        let mut sets = ParameterSets::default();
        let mut contents = Contents::default();
        contents.inspect(&payload.clone().into(), |nal| sets.update(nal));
        assert_eq!(sets.sps.as_deref(), Some(&[NAL_SPS, 9][..]));
        assert_eq!(sets.pps.as_deref(), Some(&[NAL_PPS, 8, 7][..]));
        assert!(contents.has_idr && contents.has_slice);
        payload.truncate(9);
        assert_eq!(nals_of_payloads(&[payload.into()]), Err(H264Error::Truncated));
    }

    proptest! {
        #[test]
        fn hostile_payloads_are_refused_not_panicked_on(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)
        ) {
            let payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
            let _ = nals_of_payloads(&payloads);
            let mut contents = Contents::default();
            let mut sets = ParameterSets::default();
            for payload in &payloads {
                contents.inspect(payload, |nal| sets.update(nal));
            }
            let _ = sets.video_parameters();
        }

        #[test]
        fn hostile_sps_and_avcc_are_refused_not_panicked_on(
            bytes in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let _ = ParameterSets::of_avcc(&bytes);
            let mut sps = vec![0x67];
            sps.extend(bytes);
            let _ = ParameterSets { sps: Some(sps.into()), pps: None }.video_parameters();
        }
    }
}
