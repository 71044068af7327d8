//! What an RTP payload says of its picture, for codecs that are passed through whole: VP8, VP9, AV1.
//!
//! Must not: change payloads or keep state.
//!
//! Source: RFC 7741 §4, RFC 6386 §9.1 (VP8); RFC 9628 §4, VP9 bitstream §6.2; AV1 RTP payload §4.4,
//! AV1 bitstream §5.5.

use domain::VideoParameters;

use super::format::Codec;

/// What was found in one payload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// A picture that a decoder can start with begins here.
    pub is_key: bool,
    /// Size and codec string, where a key frame shows them.
    pub video: Option<VideoParameters>,
}

/// Looks at one payload of `codec`. What cannot be read has nothing in it.
pub fn inspect(codec: Codec, payload: &[u8]) -> Found {
    let found = match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::Av1 => av1(payload),
        Codec::H264 | Codec::H265 | Codec::Opus | Codec::Pcmu | Codec::Pcma => None,
    };
    found.unwrap_or_default()
}

fn vp8(payload: &[u8]) -> Option<Found> {
    let (&first, mut rest) = payload.split_first()?;
    let (has_extension, is_start) = (first & 0x80 != 0, first & 0x17 == 0x10);
    if has_extension {
        let (&flags, after) = rest.split_first()?;
        rest = after;
        if flags & 0x80 != 0 {
            let is_long = rest.first()? & 0x80 != 0;
            rest = rest.get(1 + usize::from(is_long)..)?;
        }
        let skip = usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0);
        rest = rest.get(skip..)?;
    }
    let is_key = is_start && rest.first()? & 1 == 0;
    if !is_key {
        return None;
    }
    let video = match rest {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] => {
            let size = |lo: &u8, hi: &u8| u32::from(u16::from_le_bytes([*lo, *hi]) & 0x3fff);
            sized("vp8".to_owned(), size(w0, w1), size(h0, h1))
        }
        _ => None,
    };
    Some(Found { is_key, video })
}

fn sized(codec: String, width_px: u32, height_px: u32) -> Option<VideoParameters> {
    (width_px != 0 && height_px != 0).then_some(VideoParameters { codec, width_px, height_px })
}

fn vp9(payload: &[u8]) -> Option<Found> {
    let mut bits = Bits::new(payload);
    let [has_id, is_predicted, has_layers, is_flexible, is_start, _end, has_structure, _] =
        bits.flags()?;
    if has_id && bits.flag()? {
        bits.take(15)?;
    } else if has_id {
        bits.take(7)?;
    }
    let mut spatial_id = 0;
    if has_layers {
        bits.take(4)?;
        spatial_id = bits.take(3)?;
        bits.take(1)?;
        if !is_flexible {
            bits.take(8)?;
        }
    }
    let is_key = is_start && !is_predicted && spatial_id == 0;
    if !is_key {
        return None;
    }
    let mut size = None;
    if has_structure {
        let layers = bits.take(3)? + 1;
        let [has_sizes, has_groups] = [bits.flag()?, bits.flag()?];
        bits.take(3)?;
        if has_sizes {
            for _ in 0..layers {
                // The last layer is the largest.
                size = Some((bits.take(16)?, bits.take(16)?));
            }
        }
        if has_groups {
            for _ in 0..bits.take(8)? {
                bits.take(4)?;
                let references = bits.take(2)?;
                bits.take(2)?;
                bits.take(8 * references)?;
            }
        }
    }
    let size = size.or_else(|| vp9_size(&mut bits));
    // The level is not in the stream; 1.0 is what players take any for.
    let video = size.and_then(|(w, h)| sized("vp09.00.10.08".to_owned(), w, h));
    Some(Found { is_key, video })
}

/// Size in an uncompressed header of profile 0.
fn vp9_size(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    const SRGB: u32 = 7;
    let (marker, profile) = (bits.take(2)?, bits.take(2)?);
    let (shows_existing, is_not_key) = (bits.flag()?, bits.flag()?);
    bits.take(2)?;
    let is_key_of_profile_0 = marker == 2 && profile == 0 && !shows_existing && !is_not_key;
    if !is_key_of_profile_0 || bits.take(24)? != 0x49_8342 || bits.take(3)? == SRGB {
        return None;
    }
    bits.take(1)?;
    Some((bits.take(16)? + 1, bits.take(16)? + 1))
}

fn av1(payload: &[u8]) -> Option<Found> {
    const SEQUENCE_HEADER: u8 = 1;
    let (&aggregation, mut rest) = payload.split_first()?;
    let continues = aggregation & 0x80 != 0;
    let (count, begins_sequence) = (usize::from(aggregation >> 4 & 3), aggregation & 0x08 != 0);
    if continues {
        return None;
    }
    let mut is_key = begins_sequence;
    let mut element = 1;
    while !rest.is_empty() {
        let is_last = element == count;
        let obu = if is_last {
            std::mem::take(&mut rest)
        } else {
            let len = take_leb128(&mut rest)?;
            let obu;
            (obu, rest) = rest.split_at_checked(len)?;
            obu
        };
        element += 1;
        let [header, body @ ..] = obu else { continue };
        if header >> 3 & 0x0f != SEQUENCE_HEADER {
            continue;
        }
        is_key = true;
        let (has_extension, has_size) = (header & 4 != 0, header & 2 != 0);
        let mut body = body.get(usize::from(has_extension)..)?;
        if has_size {
            take_leb128(&mut body)?;
        }
        return Some(Found { is_key, video: av1_sequence(&mut Bits::new(body)) });
    }
    is_key.then_some(Found { is_key, video: None })
}

fn take_leb128(from: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for index in 0..4 {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn av1_sequence(bits: &mut Bits<'_>) -> Option<VideoParameters> {
    let profile = bits.take(3)?;
    bits.take(1)?;
    let is_reduced = bits.flag()?;
    let (mut level, mut is_high_tier) = (0, false);
    if is_reduced {
        level = bits.take(5)?;
    } else {
        let mut delay_len = None;
        let has_timing = bits.flag()?;
        if has_timing {
            bits.take(32)?;
            bits.take(32)?;
            let is_equal_interval = bits.flag()?;
            if is_equal_interval {
                let zeros = (0..32).take_while(|_| bits.flag() == Some(false)).count();
                bits.take(zeros as u32)?;
            }
            let has_decoder_model = bits.flag()?;
            if has_decoder_model {
                delay_len = Some(bits.take(5)? + 1);
                bits.take(32)?;
                bits.take(10)?;
            }
        }
        let has_display_delay = bits.flag()?;
        for point in 0..=bits.take(5)? {
            bits.take(12)?;
            let point_level = bits.take(5)?;
            let tier = point_level > 7 && bits.flag()?;
            if point == 0 {
                (level, is_high_tier) = (point_level, tier);
            }
            if let Some(delay_len) = delay_len
                && bits.flag()?
            {
                bits.take(delay_len)?;
                bits.take(delay_len)?;
                bits.take(1)?;
            }
            if has_display_delay && bits.flag()? {
                bits.take(4)?;
            }
        }
    }
    let (width_len, height_len) = (bits.take(4)? + 1, bits.take(4)? + 1);
    let (width_px, height_px) = (bits.take(width_len)? + 1, bits.take(height_len)? + 1);
    let tier = if is_high_tier { 'H' } else { 'M' };
    sized(format!("av01.{profile}.{level:02}{tier}.08"), width_px, height_px)
}

/// Bits of a header, the highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit != 0)
    }

    fn flags(&mut self) -> Option<[bool; 8]> {
        let mut flags = [false; 8];
        for flag in &mut flags {
            *flag = self.flag()?;
        }
        Some(flags)
    }

    /// The next `count` bits as a number; at most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value: u32, _| Some(value << 1 | u32::from(self.flag()?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Start of a key frame of 642x362 by libvpx, behind a descriptor with a 15-bit picture id.
    pub(crate) const VP8_KEY: &[u8] =
        &[0x90, 0x80, 0x92, 0x34, 0x70, 0xa9, 0x00, 0x9d, 0x01, 0x2a, 0x82, 0x02, 0x6a, 0x01, 0x00];
    /// A frame that is predicted.
    pub(crate) const VP8_DELTA: &[u8] = &[0x90, 0x80, 0x92, 0x35, 0x31, 0x01, 0x00];

    fn check(codec: Codec, payload: &[u8], is_key: bool, size: Option<(&str, u32, u32)>) {
        let video = size.map(|(codec, width_px, height_px)| VideoParameters {
            codec: codec.into(),
            width_px,
            height_px,
        });
        assert_eq!(inspect(codec, payload), Found { is_key, video }, "{payload:02x?}");
    }

    #[test]
    fn vp8_key_frames_show_their_size() {
        check(Codec::Vp8, VP8_KEY, true, Some(("vp8", 642, 362)));
        check(Codec::Vp8, VP8_DELTA, false, None);
        // Not the first partition, not its start.
        check(Codec::Vp8, &[0x11, 0x50, 0x42, 0], false, None);
        check(Codec::Vp8, &[0x00, 0x50, 0x42, 0], false, None);
    }

    #[test]
    fn vp9_key_frames_show_their_size_in_structure_or_header() {
        // I, B, V; 15-bit picture id; one layer with a size, one group without references.
        let structure = [0x8a, 0x80, 0x01, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x00, 0x82];
        check(Codec::Vp9, &structure, true, Some(("vp09.00.10.08", 1280, 720)));
        // B only; an uncompressed header by libvpx.
        let header = [0x08, 0x82, 0x49, 0x83, 0x42, 0x00, 0x28, 0x10, 0x16, 0x96, 0x0c, 0x38];
        check(Codec::Vp9, &header, true, Some(("vp09.00.10.08", 642, 362)));
        // P: predicted. No B: not the start.
        check(Codec::Vp9, &[0x48, 0x86], false, None);
        check(Codec::Vp9, &[0x00, 0x82], false, None);
    }

    #[test]
    fn av1_sequence_headers_are_key_frames() {
        // N and one element (W=1): a sequence header by libaom, without its size as RTP has it.
        let aom = [0x18, 0x08, 0, 0, 0, 0x0c, 0xc5, 0x03, 0x69, 0x36, 0xbe, 0x40, 0x10];
        check(Codec::Av1, &aom, true, Some(("av01.0.01M.08", 642, 362)));
        // A temporal delimiter and a sequence header by SVT-AV1, all with sizes (W=0).
        let svt = "08021200".to_owned() + "0e0a0c0200000d66281b48d5f3008032";
        let svt = hex::decode(svt).unwrap();
        check(Codec::Av1, &svt, true, Some(("av01.0.01M.08", 642, 362)));
        check(Codec::Av1, &[0x18, 0x30, 1, 2], true, None);
        check(Codec::Av1, &[0x10, 0x30, 1, 2], false, None);
        check(Codec::Av1, &[0x98, 0x08, 1, 2], false, None);
    }

    #[test]
    fn av1_elements_may_be_many() {
        // W=0: each has its length, here none, until the last, a sequence header.
        let mut payload = vec![0; 300];
        payload.extend([13, 0x08, 0, 0, 0, 0x0c, 0xc5, 0x03, 0x69, 0x36, 0xbe, 0x40, 0x10, 0]);
        check(Codec::Av1, &payload, true, Some(("av01.0.01M.08", 642, 362)));
    }

    proptest! {
        #[test]
        fn hostile_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus] {
                inspect(codec, &payload);
            }
        }
    }
}
