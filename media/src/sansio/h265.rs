//! H.265 as RTP carries it: NAL unit types, payload inspection, parameter sets.
//!
//! Must not: fragment (that is `packetize`) or order packets (that is `assemble`).
//!
//! Source: RFC 7798 §4.4, ITU-T H.265 §7.3. Decoding order numbers (`sprop-max-don-diff` above 0) are not
//! supported; no camera uses them.

use bytes::Bytes;
use domain::VideoParameters;
use h264_reader::rbsp::{BitRead, BitReader, BitReaderError, ByteReader};

use super::h264::Contents;

/// First type of a picture that a decoder can start at (BLA, IDR, CRA).
pub const NAL_FIRST_IRAP: u8 = 16;
/// Last such type that is not reserved.
pub const NAL_LAST_IRAP: u8 = 21;
/// Video parameter set.
pub const NAL_VPS: u8 = 32;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 33;
/// Picture parameter set.
pub const NAL_PPS: u8 = 34;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 35;
/// Filler data.
pub const NAL_FILLER: u8 = 38;
/// Aggregation packet of whole NAL units (RFC 7798 §4.4.2).
pub const AP: u8 = 48;
/// Fragment of a NAL unit (RFC 7798 §4.4.3).
pub const FU: u8 = 49;
/// Types from here on are not coded slices.
const NAL_FIRST_NON_VCL: u8 = 32;

/// Largest side of a picture, in luma samples, at any level of the specification.
const MAX_SIDE_PX: u32 = 16_888;

/// `nal_unit_type` of a NAL unit or RTP payload; a type that is none (63) when it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |header| header >> 1 & 0x3f)
}

/// Whether an RTP payload holds nothing that a decoder needs: a delimiter, which the marker bit makes
/// superfluous, or (part of) filler data.
pub fn is_dispensable(payload: &[u8]) -> bool {
    match (nal_type(payload), payload) {
        (NAL_AUD | NAL_FILLER, _) => true,
        (FU, [_, _, header, ..]) => header & 0x3f == NAL_FILLER,
        _ => false,
    }
}

/// A payload or a NAL unit that does not follow its RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H265Error {
    /// A payload shorter than its own headers.
    #[error("H.265 payload ends inside its header")]
    Truncated,
    /// A fragment that continues nothing, or a new unit inside an unfinished one.
    #[error("H.265 fragment without its beginning or end")]
    BrokenFragment,
    /// A packet type that is reserved, or PACI.
    #[error("H.265 packet type {0} is not supported")]
    UnsupportedType(u8),
    /// The sequence parameter set cannot be read.
    #[error("unreadable sequence parameter set")]
    BadSps,
}

/// Splits the payloads of one access unit into its NAL units.
///
/// # Errors
/// When a payload breaks RFC 7798; a decoder could not use the access unit either.
pub fn nals_of_payloads(payloads: &[Bytes]) -> Result<Vec<Bytes>, H265Error> {
    let mut nals = Vec::with_capacity(payloads.len());
    let mut fragment: Option<Vec<u8>> = None;
    for payload in payloads {
        if payload.len() < 2 {
            return Err(H265Error::Truncated);
        }
        match nal_type(payload) {
            FU => {
                let [first, second, header, rest @ ..] = &payload[..] else {
                    return Err(H265Error::Truncated);
                };
                let (is_start, is_end) = (header & 0x80 != 0, header & 0x40 != 0);
                match (&mut fragment, is_start) {
                    (None, true) => {
                        let mut nal = vec![first & 0x81 | (header & 0x3f) << 1, *second];
                        nal.extend_from_slice(rest);
                        fragment = Some(nal);
                    }
                    (Some(nal), false) => nal.extend_from_slice(rest),
                    _ => return Err(H265Error::BrokenFragment),
                }
                if is_end && let Some(nal) = fragment.take() {
                    nals.push(nal.into());
                }
            }
            _ if fragment.is_some() => return Err(H265Error::BrokenFragment),
            AP => {
                let before = nals.len();
                if !for_each_aggregated(payload, |nal| nals.push(nal)) || nals.len() == before {
                    return Err(H265Error::Truncated);
                }
            }
            0..AP => nals.push(payload.clone()),
            other => return Err(H265Error::UnsupportedType(other)),
        }
    }
    if fragment.is_some() { Err(H265Error::BrokenFragment) } else { Ok(nals) }
}

/// Calls `f` with each NAL unit of an aggregation packet; `false` when it is malformed behind them.
fn for_each_aggregated(payload: &Bytes, mut f: impl FnMut(Bytes)) -> bool {
    let mut at = 2;
    while at < payload.len() {
        let Some(len) = payload.get(at..at + 2) else { return false };
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        if len < 2 || at + 2 + len > payload.len() {
            return false;
        }
        f(payload.slice(at + 2..at + 2 + len));
        at += 2 + len;
    }
    true
}

fn note(contents: &mut Contents, nal_type: u8) {
    contents.has_idr |= (NAL_FIRST_IRAP..=NAL_LAST_IRAP).contains(&nal_type);
    contents.has_slice |= nal_type < NAL_FIRST_NON_VCL;
}

/// Adds what one RTP payload holds, calling `on_parameter_set` with each whole VPS, SPS and PPS.
pub fn inspect(contents: &mut Contents, payload: &Bytes, mut on_parameter_set: impl FnMut(Bytes)) {
    let mut whole = |nal: Bytes| {
        note(contents, nal_type(&nal));
        if matches!(nal_type(&nal), NAL_VPS | NAL_SPS | NAL_PPS) {
            on_parameter_set(nal);
        }
    };
    match nal_type(payload) {
        FU => {
            if let Some(header) = payload.get(2) {
                note(contents, header & 0x3f);
            }
        }
        AP => {
            for_each_aggregated(payload, whole);
        }
        0..AP => whole(payload.clone()),
        _ => {}
    }
}

/// The parameter sets a decoder needs before the first slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// VPS NAL unit, header included.
    pub vps: Option<Bytes>,
    /// SPS NAL unit, header included.
    pub sps: Option<Bytes>,
    /// PPS NAL unit, header included.
    pub pps: Option<Bytes>,
}

impl ParameterSets {
    /// Keeps the newest of its kind; any other NAL unit is ignored.
    pub fn update(&mut self, nal: Bytes) {
        match nal_type(&nal) {
            NAL_VPS => self.vps = Some(nal),
            NAL_SPS => self.sps = Some(nal),
            NAL_PPS => self.pps = Some(nal),
            _ => {}
        }
    }

    /// Those of an `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1), the last of each kind.
    pub fn of_hvcc(record: &[u8]) -> Self {
        fn take<'a>(at: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
            let (head, tail) = at.split_at_checked(len)?;
            *at = tail;
            Some(head)
        }
        let mut found = Self::default();
        let mut at = record;
        let _complete = (|| {
            let arrays = take(&mut at, 23)?[22];
            for _ in 0..arrays {
                let head = take(&mut at, 3)?;
                for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
                    let len = take(&mut at, 2)?;
                    let nal = take(&mut at, usize::from(u16::from_be_bytes([len[0], len[1]])))?;
                    found.update(Bytes::copy_from_slice(nal));
                }
            }
            Some(())
        })();
        found
    }

    /// Codec string and picture size.
    ///
    /// # Errors
    /// When there is no SPS or it cannot be read.
    pub fn video_parameters(&self) -> Result<VideoParameters, H265Error> {
        let sps = self.sps.as_ref().filter(|sps| sps.len() > 2).ok_or(H265Error::BadSps)?;
        read_sps(&sps[2..]).ok().flatten().ok_or(H265Error::BadSps)
    }
}

/// What browsers want to know of an SPS; `None` when its numbers make no sense.
///
/// Source: ITU-T H.265 §7.3.2.2.1, §7.3.3; RFC 6381 strings as in ISO/IEC 14496-15 Annex E.3.
fn read_sps(rbsp: &[u8]) -> Result<Option<VideoParameters>, BitReaderError> {
    // The two bytes of NAL header are cut off already.
    let mut bits = BitReader::new(ByteReader::without_skip(rbsp));
    bits.skip(4, "sps_video_parameter_set_id")?;
    let max_sub_layers_minus1: u8 = bits.read(3, "sps_max_sub_layers_minus1")?;
    bits.skip(1, "sps_temporal_id_nesting_flag")?;

    let profile_space: u8 = bits.read(2, "general_profile_space")?;
    let is_high_tier = bits.read_bool("general_tier_flag")?;
    let profile_idc: u8 = bits.read(5, "general_profile_idc")?;
    let compatibility: u32 = bits.read(32, "general_profile_compatibility_flags")?;
    let mut constraints = [0u8; 6];
    for byte in &mut constraints {
        *byte = bits.read(8, "general_constraint_flags")?;
    }
    let level_idc: u8 = bits.read(8, "general_level_idc")?;
    skip_sub_layers(&mut bits, max_sub_layers_minus1)?;

    bits.read_ue("sps_seq_parameter_set_id")?;
    let chroma_format_idc = bits.read_ue("chroma_format_idc")?;
    let is_separate = chroma_format_idc == 3 && bits.read_bool("separate_colour_plane_flag")?;
    let width = bits.read_ue("pic_width_in_luma_samples")?;
    let height = bits.read_ue("pic_height_in_luma_samples")?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.read_bool("conformance_window_flag")? {
        let mut offsets = [0u32; 4];
        for offset in &mut offsets {
            *offset = bits.read_ue("conf_win_offset")?.min(MAX_SIDE_PX);
        }
        let [left, right, top, bottom] = offsets;
        // SubWidthC and SubHeightC.
        let unit_x = if !is_separate && matches!(chroma_format_idc, 1 | 2) { 2 } else { 1 };
        let unit_y = if !is_separate && chroma_format_idc == 1 { 2 } else { 1 };
        (crop_x, crop_y) = ((left + right) * unit_x, (top + bottom) * unit_y);
    }
    if width > MAX_SIDE_PX || height > MAX_SIDE_PX || crop_x >= width || crop_y >= height {
        return Ok(None);
    }

    let space = ["", "A", "B", "C"][usize::from(profile_space)];
    let tier = if is_high_tier { 'H' } else { 'L' };
    let mut codec =
        format!("hvc1.{space}{profile_idc}.{:X}.{tier}{level_idc}", compatibility.reverse_bits());
    let last = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    for byte in &constraints[..last] {
        codec.push_str(&format!(".{byte:X}"));
    }
    Ok(Some(VideoParameters { codec, width_px: width - crop_x, height_px: height - crop_y }))
}

fn skip_sub_layers(bits: &mut impl BitRead, count: u8) -> Result<(), BitReaderError> {
    let mut present = [(false, false); 8];
    for sub_layer in present.iter_mut().take(count.into()) {
        let has_profile = bits.read_bool("sub_layer_profile_present_flag")?;
        *sub_layer = (has_profile, bits.read_bool("sub_layer_level_present_flag")?);
    }
    if count > 0 {
        bits.skip(2 * (8 - u32::from(count)), "reserved_zero_2bits")?;
    }
    for (has_profile, has_level) in present {
        if has_profile {
            bits.skip(88, "sub_layer_profile")?;
        }
        if has_level {
            bits.skip(8, "sub_layer_level_idc")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets(sps: &str) -> ParameterSets {
        let sps = Some(hex::decode(sps).unwrap().into());
        ParameterSets { vps: None, sps, pps: None }
    }

    #[test]
    fn video_parameters_come_from_the_sps() {
        let check = |sps: &str, codec: &str, size: (u32, u32)| {
            let video = sets(sps).video_parameters().unwrap();
            assert_eq!((video.codec.as_str(), (video.width_px, video.height_px)), (codec, size));
        };
        check(
            "42010101600000030090000003000003005da00280802d165959a4932bc05a020000030002000003003c10",
            "hvc1.1.6.L93.90",
            (1280, 720),
        );
        check(
            "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000f04",
            "hvc1.1.6.L120.90",
            (1920, 1080),
        );
        check(
            "42010101600000030090000003000003003ca00a480b9c9596566924caf0168080000003008000000f04",
            "hvc1.1.6.L60.90",
            (322, 182),
        );
        // 4:2:2 with 10 bits.
        check(
            "4201010408000003009d0800000300003fb005020169365959a4932bc05a020000030002000003003c10",
            "hvc1.4.10.L63.9D.8",
            (640, 360),
        );
    }

    #[test]
    fn aggregated_parameter_sets_are_found() {
        let (vps, sps, pps) = (&[64, 1, 9][..], &[66, 1, 8, 8][..], &[68, 1][..]);
        let mut payload = vec![AP << 1, 1];
        for nal in [vps, sps, pps, &[19 << 1, 1, 7]] {
            payload.extend((nal.len() as u16).to_be_bytes());
            payload.extend(nal);
        }
        let (mut found, mut contents) = (ParameterSets::default(), Contents::default());
        inspect(&mut contents, &payload.clone().into(), |nal| found.update(nal));
        assert_eq!(found.vps.as_deref(), Some(vps));
        assert_eq!(found.sps.as_deref(), Some(sps));
        assert_eq!(found.pps.as_deref(), Some(pps));
        assert!(contents.has_idr && contents.has_slice);
        payload.pop();
        assert_eq!(nals_of_payloads(&[payload.into()]), Err(H265Error::Truncated));
    }

    #[test]
    fn parameter_sets_come_from_the_configuration_record() {
        let mut record = vec![0; 22];
        record.push(2);
        record.extend([0xa0, 0, 1, 0, 3, 64, 1, 9]);
        record.extend([0xa1, 0, 1, 0, 4, 66, 1, 8, 8]);
        let found = ParameterSets::of_hvcc(&record);
        assert_eq!(found.vps.as_deref(), Some(&[64, 1, 9][..]));
        assert_eq!(found.sps.as_deref(), Some(&[66, 1, 8, 8][..]));
        assert_eq!(found.pps, None);
    }

    proptest! {
        #[test]
        fn hostile_payloads_are_refused_not_panicked_on(
            payloads in prop::collection::vec(
                (prop::sample::select(vec![0u8, 19, 33, AP, FU, 50]), prop::collection::vec(any::<u8>(), 0..60)),
                0..6)
        ) {
            let payloads: Vec<Bytes> = payloads
                .into_iter()
                .map(|(nal_type, mut bytes)| {
                    if let Some(first) = bytes.first_mut() {
                        *first = nal_type << 1;
                    }
                    bytes.into()
                })
                .collect();
            let _ = nals_of_payloads(&payloads);
            let (mut found, mut contents) = (ParameterSets::default(), Contents::default());
            for payload in &payloads {
                inspect(&mut contents, payload, |nal| found.update(nal));
            }
            let _ = found.video_parameters();
        }

        #[test]
        fn hostile_sps_and_hvcc_are_refused_not_panicked_on(
            bytes in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            let _ = ParameterSets::of_hvcc(&bytes);
            let mut sps = vec![NAL_SPS << 1, 1];
            sps.extend(bytes);
            let _ = ParameterSets { sps: Some(sps.into()), ..Default::default() }.video_parameters();
        }
    }
}
