//! Packets in order into units, for every codec. Must not: order packets or send.

use bytes::Bytes;
use domain::VideoParameters;

use crate::sansio::{
    assemble::{Assembled, Assembler, MAX_UNIT_PACKETS, RtpPacket},
    descriptor,
    format::{Codec, Format},
    h264, h265,
};

/// Most payload bytes of one picture; more is a broken publisher or an attack.
const MAX_UNIT_BYTES: usize = 8 << 20;

/// Puts packets of one stream together.
#[derive(Debug)]
pub enum Depacketizer {
    /// H.264 and H.265.
    Nals(Box<Assembler>),
    /// VP8, VP9 and AV1.
    Pictures(Pictures),
    /// Each packet is a unit.
    Sound(Codec),
}

impl Depacketizer {
    /// Waits for a key frame of `codec`.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::H264 => Self::Nals(Box::new(Assembler::new(h264::ParameterSets::default()))),
            Codec::H265 => Self::Nals(Box::new(Assembler::new(h265::ParameterSets::default()))),
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 => Self::Pictures(Pictures::new(codec)),
            Codec::Opus | Codec::Pcmu | Codec::Pcma => Self::Sound(codec),
        }
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        match self {
            Self::Nals(assembler) => assembler.parameter_sets().codec(),
            Self::Pictures(pictures) => pictures.codec,
            Self::Sound(codec) => *codec,
        }
    }

    /// Whether pictures are withheld until the next key frame.
    pub fn needs_key(&self) -> bool {
        match self {
            Self::Nals(assembler) => assembler.needs_key(),
            Self::Pictures(pictures) => pictures.needs_key,
            Self::Sound(_) => false,
        }
    }

    /// Takes the next packet; gives the units it completes.
    pub fn push(&mut self, packet: RtpPacket) -> [Option<Assembled>; 2] {
        match self {
            Self::Nals(assembler) => assembler.push(packet),
            Self::Pictures(pictures) => pictures.push(packet),
            Self::Sound(_) => {
                let RtpPacket { timestamp_90k, payload, .. } = packet;
                let unit = Assembled { timestamp_90k, is_key: true, payloads: vec![payload] };
                [Some(unit), None]
            }
        }
    }

    /// Units that were withheld so far.
    pub fn dropped_units(&self) -> u64 {
        match self {
            Self::Nals(assembler) => assembler.dropped_units(),
            Self::Pictures(pictures) => pictures.dropped_units,
            Self::Sound(_) => 0,
        }
    }

    /// What the newest key frame showed.
    pub fn format(&self, rid: &str) -> Format {
        let video = match self {
            Self::Nals(assembler) => match assembler.parameter_sets().format(rid) {
                Ok(format) => return format,
                Err(_) => None,
            },
            Self::Pictures(pictures) => pictures.video.clone(),
            Self::Sound(_) => None,
        };
        let codec = self.codec();
        Format { codec, rid: rid.to_owned(), video, h264_profile: None }
    }
}

/// Pictures of codecs whose payloads pass through whole: what has one timestamp is one picture.
///
/// What no decoder could use is withheld: pictures after a loss until the next key frame, and everything
/// before the first.
#[derive(Debug)]
pub struct Pictures {
    codec: Codec,
    pending: Option<Pending>,
    needs_key: bool,
    video: Option<VideoParameters>,
    dropped_units: u64,
}

#[derive(Debug)]
struct Pending {
    timestamp_90k: i64,
    payloads: Vec<Bytes>,
    len_bytes: usize,
    is_key: bool,
    is_damaged: bool,
}

impl Pictures {
    fn new(codec: Codec) -> Self {
        Self { codec, pending: None, needs_key: true, video: None, dropped_units: 0 }
    }

    fn push(&mut self, packet: RtpPacket) -> [Option<Assembled>; 2] {
        let is_new =
            self.pending.as_ref().is_some_and(|unit| unit.timestamp_90k != packet.timestamp_90k);
        let is_after_loss = packet.lost_before > 0;
        if let Some(unit) = self.pending.as_mut().filter(|_| is_new) {
            unit.is_damaged |= is_after_loss;
        }
        let before = if is_new { self.finish() } else { None };
        let is_first = self.pending.is_none();
        let unit = self.pending.get_or_insert_with(|| Pending {
            timestamp_90k: packet.timestamp_90k,
            payloads: Vec::new(),
            len_bytes: 0,
            is_key: false,
            is_damaged: false,
        });
        let found = descriptor::inspect(self.codec, &packet.payload);
        unit.is_key |= found.is_key;
        if found.video.is_some() {
            self.video = found.video;
        }
        unit.len_bytes += packet.payload.len();
        // A key frame shows its beginning: what is lost was before it.
        let is_whole = is_first && found.is_key;
        unit.is_damaged |= is_after_loss && !is_whole
            || unit.len_bytes > MAX_UNIT_BYTES
            || unit.payloads.len() >= MAX_UNIT_PACKETS;
        if unit.is_damaged {
            unit.payloads.clear();
        } else {
            unit.payloads.push(packet.payload);
        }
        let now = if packet.marker { self.finish() } else { None };
        [before, now]
    }

    fn finish(&mut self) -> Option<Assembled> {
        let Pending { timestamp_90k, payloads, is_key, is_damaged, .. } = self.pending.take()?;
        self.needs_key = is_damaged || self.needs_key && !is_key;
        if self.needs_key {
            self.dropped_units += 1;
            return None;
        }
        Some(Assembled { timestamp_90k, is_key, payloads })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sansio::descriptor::tests::{VP8_DELTA, VP8_KEY};

    fn packet(timestamp_90k: i64, marker: bool, payload: &[u8], lost_before: u16) -> RtpPacket {
        RtpPacket { timestamp_90k, marker, payload: Bytes::copy_from_slice(payload), lost_before }
    }

    fn run(packets: Vec<RtpPacket>) -> Vec<(i64, bool, usize)> {
        let mut depacketizer = Depacketizer::new(Codec::Vp8);
        let units = packets.into_iter().flat_map(|packet| depacketizer.push(packet)).flatten();
        units.map(|unit| (unit.timestamp_90k, unit.is_key, unit.payloads.len())).collect()
    }

    #[test]
    fn packets_of_one_timestamp_are_a_picture() {
        let units = run(vec![
            packet(0, false, VP8_DELTA, 0),
            packet(1, false, VP8_KEY, 0),
            packet(1, true, &[0x80, 0x80, 0x92, 0x34, 1], 0),
            packet(2, false, VP8_DELTA, 0),
            packet(3, true, VP8_DELTA, 0),
        ]);
        assert_eq!(units, [(1, true, 2), (2, false, 1), (3, false, 1)]);
    }

    #[test]
    fn a_loss_withholds_pictures_until_the_next_key_frame() {
        let units = run(vec![
            packet(1, true, VP8_KEY, 0),
            packet(2, true, VP8_DELTA, 1),
            packet(3, true, VP8_DELTA, 0),
            packet(4, false, VP8_KEY, 1),
            packet(4, true, &[0x80, 0x80, 0x92, 0x36, 1], 1),
            packet(5, true, VP8_KEY, 1),
            packet(6, false, VP8_DELTA, 0),
            packet(7, true, VP8_DELTA, 1),
        ]);
        assert_eq!(units, [(1, true, 1), (5, true, 1)]);
    }

    #[test]
    fn a_picture_of_more_packets_than_any_publisher_sends_is_withheld() {
        let mut packets = vec![packet(0, false, VP8_KEY, 0)];
        packets.resize(MAX_UNIT_PACKETS + 1, packet(0, false, &[], 0));
        packets.extend([packet(1, true, VP8_DELTA, 0), packet(2, true, VP8_KEY, 0)]);
        assert_eq!(run(packets), [(2, true, 1)]);
    }

    #[test]
    fn h265_pictures_begin_with_their_parameter_sets() {
        let nal = |nal_type: u8| [nal_type << 1, 1, 7];
        let mut depacketizer = Depacketizer::new(Codec::H265);
        let packets = [(1, 1), (2, 32), (2, 33), (2, 34), (2, 19), (3, 1), (4, 19), (5, 1)]
            .map(|(timestamp, nal_type)| packet(timestamp, false, &nal(nal_type), 0));
        let units = packets.into_iter().flat_map(|packet| depacketizer.push(packet)).flatten();
        let units: Vec<_> = units.map(|unit| (unit.is_key, unit.payloads.len())).collect();
        assert_eq!(units, [(true, 4), (false, 1), (true, 4)]);
        assert_eq!(depacketizer.format("main").codec, Codec::H265);
    }

    proptest! {
        #[test]
        fn hostile_packets_never_panic(
            packets in prop::collection::vec(
                (0i64..4, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40), 0u16..2), 0..20)
        ) {
            for codec in [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1, Codec::Opus] {
                let mut depacketizer = Depacketizer::new(codec);
                for (timestamp, marker, payload, lost_before) in &packets {
                    depacketizer.push(packet(*timestamp, *marker, payload, *lost_before));
                    depacketizer.format("main");
                }
            }
        }
    }
}
