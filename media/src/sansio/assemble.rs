//! RTP packets of one camera into access units. Must not: read a clock or know the transport.
//!
//! Source: RFC 6184 §5.1 (marker bit), §8.4 (parameter sets in-band and out-of-band); RFC 7798 §4.1, §7.1.

use bytes::Bytes;
use domain::VideoParameters;

use super::{
    format::{Codec, Format},
    h264::{self, Contents},
    h265,
    packetize::{refit, refit_h265},
};

/// One RTP packet as it came from a camera, in order.
#[derive(Debug, Clone)]
pub struct RtpPacket {
    /// Unwrapped RTP timestamp, 90 kHz.
    pub timestamp_90k: i64,
    /// Marker bit: the last packet of its access unit.
    pub marker: bool,
    /// Payload without RTP header and padding.
    pub payload: Bytes,
    /// Packets known to be lost just before this one.
    pub lost_before: u16,
}

/// An access unit on the camera's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The camera's timestamp, unwrapped: 90 kHz for video, the codec's clock for sound.
    pub timestamp_90k: i64,
    /// A decoder can start here: parameter sets are in front. Always so for sound.
    pub is_key: bool,
    /// Payloads of at most [`super::packetize::MAX_PAYLOAD_BYTES`].
    pub payloads: Vec<Bytes>,
}

/// The parameter sets of a video stream, which say what codec it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterSets {
    /// Of H.264.
    H264(h264::ParameterSets),
    /// Of H.265.
    H265(h265::ParameterSets),
}

impl From<h264::ParameterSets> for ParameterSets {
    fn from(sets: h264::ParameterSets) -> Self {
        Self::H264(sets)
    }
}

impl From<h265::ParameterSets> for ParameterSets {
    fn from(sets: h265::ParameterSets) -> Self {
        Self::H265(sets)
    }
}

/// The parameter sets of a stream cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable parameter sets")]
pub struct BadParameterSets;

impl ParameterSets {
    /// The codec.
    pub fn codec(&self) -> Codec {
        match self {
            Self::H264(_) => Codec::H264,
            Self::H265(_) => Codec::H265,
        }
    }

    /// Codec string and picture size.
    ///
    /// # Errors
    /// When there is no SPS or it cannot be read.
    pub fn video_parameters(&self) -> Result<VideoParameters, BadParameterSets> {
        match self {
            Self::H264(sets) => sets.video_parameters().map_err(|_| BadParameterSets),
            Self::H265(sets) => sets.video_parameters().map_err(|_| BadParameterSets),
        }
    }

    /// What a track of that name carries.
    ///
    /// # Errors
    /// When there is no SPS or it cannot be read.
    pub fn format(&self, rid: &str) -> Result<Format, BadParameterSets> {
        let h264_profile = match self {
            Self::H264(sets) => match sets.sps.as_deref() {
                Some([_, profile_idc, constraint_flags, ..]) => {
                    Some([*profile_idc, *constraint_flags])
                }
                _ => None,
            },
            Self::H265(_) => None,
        };
        let video = Some(self.video_parameters()?);
        Ok(Format { codec: self.codec(), rid: rid.to_owned(), video, h264_profile })
    }

    fn inspect(&mut self, payload: &Bytes, contents: &mut Contents, seen: &mut Seen) {
        match self {
            Self::H264(sets) => contents.inspect(payload, |nal| {
                match h264::nal_type(&nal) {
                    h264::NAL_SPS => seen.sps = true,
                    _ => seen.pps = true,
                }
                sets.update(nal);
            }),
            Self::H265(sets) => h265::inspect(contents, payload, |nal| {
                match h265::nal_type(&nal) {
                    h265::NAL_VPS => seen.vps = true,
                    h265::NAL_SPS => seen.sps = true,
                    _ => seen.pps = true,
                }
                sets.update(nal);
            }),
        }
    }

    /// Those that a key frame needs in front; `None` when one of them is not known.
    fn missing(&self, seen: Seen) -> Option<Vec<Bytes>> {
        let (vps, sps, pps) = match self {
            Self::H264(sets) => (None, &sets.sps, &sets.pps),
            Self::H265(sets) => (Some(&sets.vps), &sets.sps, &sets.pps),
        };
        let mut missing = Vec::with_capacity(3);
        if let Some(vps) = vps
            && !seen.vps
        {
            missing.push(vps.clone()?);
        }
        if !seen.sps {
            missing.push(sps.clone()?);
        }
        if !seen.pps {
            missing.push(pps.clone()?);
        }
        Some(missing)
    }

    fn is_dispensable(&self, payload: &[u8]) -> bool {
        match self {
            Self::H264(_) => h264::is_dispensable(payload),
            Self::H265(_) => h265::is_dispensable(payload),
        }
    }

    fn refit(&self, payloads: Vec<Bytes>) -> Option<Vec<Bytes>> {
        match self {
            Self::H264(_) => refit(payloads).ok(),
            Self::H265(_) => refit_h265(payloads).ok(),
        }
    }
}

/// Which parameter sets an access unit brought itself.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    vps: bool,
    sps: bool,
    pps: bool,
}

/// Most payload bytes of one access unit; more is a broken camera or an attack.
const MAX_UNIT_BYTES: usize = 8 << 20;
/// Most packets of one access unit: each is sent by itself, and takes memory, however small it is.
pub(super) const MAX_UNIT_PACKETS: usize = 16_384;

/// Puts packets together, adds missing parameter sets, and withholds what no decoder could use: frames
/// after a loss until the next key frame, everything before the first, and packets with nothing but a
/// delimiter or filler in them, which would cost a packet a frame for every viewer.
#[derive(Debug)]
pub struct Assembler {
    parameter_sets: ParameterSets,
    pending: Option<Pending>,
    needs_key: bool,
    dropped_units: u64,
}

#[derive(Debug)]
struct Pending {
    timestamp_90k: i64,
    payloads: Vec<Bytes>,
    len_bytes: usize,
    contents: Contents,
    seen: Seen,
    is_damaged: bool,
}

impl Assembler {
    /// `parameter_sets` are those of the camera's SDP, if it has any; they say which codec comes.
    pub fn new(parameter_sets: impl Into<ParameterSets>) -> Self {
        Self {
            parameter_sets: parameter_sets.into(),
            pending: None,
            needs_key: true,
            dropped_units: 0,
        }
    }

    /// The newest parameter sets, from the packets or the SDP.
    pub fn parameter_sets(&self) -> &ParameterSets {
        &self.parameter_sets
    }

    /// Access units withheld so far.
    pub fn dropped_units(&self) -> u64 {
        self.dropped_units
    }

    /// Whether pictures are withheld until the next key frame.
    pub fn needs_key(&self) -> bool {
        self.needs_key
    }

    /// Takes the next packet; gives the access units it completes (none, one, or two).
    pub fn push(&mut self, packet: RtpPacket) -> [Option<Assembled>; 2] {
        if let Some(unit) = &mut self.pending {
            // What was lost may have been the end of a unit whose marker bit did not come.
            unit.is_damaged |= packet.lost_before > 0;
        }
        let is_new_unit =
            self.pending.as_ref().is_some_and(|unit| unit.timestamp_90k != packet.timestamp_90k);
        let before = if is_new_unit { self.finish() } else { None };

        let unit = self.pending.get_or_insert_with(|| Pending {
            timestamp_90k: packet.timestamp_90k,
            payloads: Vec::new(),
            len_bytes: 0,
            contents: Contents::default(),
            seen: Seen::default(),
            is_damaged: false,
        });
        unit.is_damaged |= packet.lost_before > 0;
        self.parameter_sets.inspect(&packet.payload, &mut unit.contents, &mut unit.seen);
        unit.len_bytes += packet.payload.len();
        unit.is_damaged |=
            unit.len_bytes > MAX_UNIT_BYTES || unit.payloads.len() >= MAX_UNIT_PACKETS;
        if unit.is_damaged {
            unit.payloads.clear();
        } else if !packet.payload.is_empty() && !self.parameter_sets.is_dispensable(&packet.payload)
        {
            unit.payloads.push(packet.payload);
        }
        let now = if packet.marker { self.finish() } else { None };
        [before, now]
    }

    fn finish(&mut self) -> Option<Assembled> {
        let unit = self.pending.take()?;
        if !unit.is_damaged && !unit.contents.has_slice {
            // Parameter sets or SEI alone; they are kept for the next key frame.
            return None;
        }
        let is_key = unit.contents.has_idr;
        let payloads = if unit.is_damaged || (self.needs_key && !is_key) {
            None
        } else {
            self.with_parameter_sets(unit, is_key)
        };
        self.needs_key = payloads.is_none();
        match payloads {
            Some((timestamp_90k, payloads)) => Some(Assembled { timestamp_90k, is_key, payloads }),
            None => {
                self.dropped_units += 1;
                None
            }
        }
    }

    /// `None` when the unit is undecodable: malformed, or a key frame with no parameter sets known.
    fn with_parameter_sets(&self, unit: Pending, is_key: bool) -> Option<(i64, Vec<Bytes>)> {
        let mut payloads = unit.payloads;
        if is_key {
            let missing = self.parameter_sets.missing(unit.seen)?;
            payloads.splice(0..0, missing);
        }
        Some((unit.timestamp_90k, self.parameter_sets.refit(payloads)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPS: &[u8] = &[0x67, 1, 2];
    const PPS: &[u8] = &[0x68, 3];
    const IDR: &[u8] = &[0x65, 4];
    const SLICE: &[u8] = &[0x41, 5];

    fn packet(timestamp_90k: i64, marker: bool, payload: &'static [u8]) -> RtpPacket {
        RtpPacket { timestamp_90k, marker, payload: Bytes::from_static(payload), lost_before: 0 }
    }

    fn run(assembler: &mut Assembler, packets: Vec<RtpPacket>) -> Vec<Assembled> {
        packets.into_iter().flat_map(|p| assembler.push(p)).flatten().collect()
    }

    fn sdp_sets() -> h264::ParameterSets {
        h264::ParameterSets {
            sps: Some(Bytes::from_static(SPS)),
            pps: Some(Bytes::from_static(PPS)),
        }
    }

    #[test]
    fn parameter_sets_left_out_by_the_camera_are_put_in_band() {
        let mut assembler = Assembler::new(sdp_sets());
        let units = run(&mut assembler, vec![packet(0, true, IDR), packet(3000, true, SLICE)]);
        assert_eq!(units[0].payloads, [SPS, PPS, IDR]);
        assert!(units[0].is_key);
        assert_eq!(units[1].payloads, [SLICE]);
    }

    #[test]
    fn parameter_sets_sent_by_the_camera_are_not_doubled() {
        let mut assembler = Assembler::new(h264::ParameterSets::default());
        let units = run(
            &mut assembler,
            vec![packet(0, false, SPS), packet(0, false, PPS), packet(0, true, IDR)],
        );
        assert_eq!(units[0].payloads, [SPS, PPS, IDR]);
    }

    #[test]
    fn delimiters_and_filler_are_left_out_wherever_they_come() {
        let mut assembler = Assembler::new(sdp_sets());
        let filler_begins = &[0x1c, 0x80 | h264::NAL_FILLER, 0xff];
        let packets = vec![
            packet(0, false, &[h264::NAL_AUD, 0xf0]),
            packet(0, false, IDR),
            packet(0, false, filler_begins),
            packet(0, true, &[0x1c, 0x40 | h264::NAL_FILLER, 0x80]),
            packet(3000, false, SLICE),
            packet(3000, true, &[h264::NAL_FILLER, 0x80]),
            packet(6000, true, SLICE),
        ];
        let units = run(&mut assembler, packets);
        let payloads: Vec<_> = units.iter().map(|unit| unit.payloads.clone()).collect();
        assert_eq!(payloads, [vec![SPS, PPS, IDR], vec![SLICE], vec![SLICE]]);

        let (aud, filler) = (&[35 << 1, 1, 0x50][..], &[49 << 1, 1, 0x80 | 38, 0xff][..]);
        let (idr, sets) = (&[19 << 1, 1, 5][..], [32, 33, 34].map(|kind: u8| [kind << 1, 1]));
        let [vps, sps, pps] = sets.map(|set| Some(Bytes::copy_from_slice(&set)));
        let mut assembler = Assembler::new(h265::ParameterSets { vps, sps, pps });
        let packets = vec![packet(0, false, aud), packet(0, false, idr), packet(0, true, filler)];
        let units = run(&mut assembler, packets);
        assert_eq!(units[0].payloads[3..], [idr]);
    }

    #[test]
    fn nothing_is_given_before_the_first_key_frame() {
        let mut assembler = Assembler::new(sdp_sets());
        let units = run(&mut assembler, vec![packet(0, true, SLICE), packet(3000, true, IDR)]);
        assert_eq!(units.len(), 1);
        assert!(units[0].is_key);
    }

    #[test]
    fn a_loss_withholds_frames_until_the_next_key_frame() {
        let mut assembler = Assembler::new(sdp_sets());
        let mut after_loss = packet(3000, true, SLICE);
        after_loss.lost_before = 1;
        let units = run(
            &mut assembler,
            vec![
                packet(0, true, IDR),
                after_loss,
                packet(6000, true, SLICE),
                packet(9000, true, IDR),
            ],
        );
        assert_eq!(units.iter().map(|u| u.timestamp_90k).collect::<Vec<_>>(), [0, 9000]);
        assert_eq!(assembler.dropped_units(), 2);
    }

    #[test]
    fn a_frame_whose_end_was_lost_is_withheld() {
        let mut assembler = Assembler::new(sdp_sets());
        let mut after_loss = packet(6000, true, SLICE);
        after_loss.lost_before = 1;
        let packets = vec![packet(0, true, IDR), packet(3000, false, SLICE), after_loss];
        let units = run(&mut assembler, packets);
        assert_eq!(units.iter().map(|u| u.timestamp_90k).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_camera_without_marker_bits_is_cut_by_timestamp() {
        let mut assembler = Assembler::new(sdp_sets());
        let units = run(
            &mut assembler,
            vec![packet(0, false, IDR), packet(3000, false, SLICE), packet(6000, false, SLICE)],
        );
        assert_eq!(units.iter().map(|u| u.timestamp_90k).collect::<Vec<_>>(), [0, 3000]);
    }

    #[test]
    fn an_h265_camera_gets_its_parameter_sets_in_band_too() {
        let (vps, sps, pps) = (&[64, 1, 9][..], &[66, 1, 8][..], &[68, 1][..]);
        let (idr, trail) = (&[19 << 1, 1, 5][..], &[1 << 1, 1, 5][..]);
        let [vps_set, sps_set] = [vps, sps].map(|nal| Some(Bytes::from_static(nal)));
        let known = h265::ParameterSets { vps: vps_set, sps: sps_set, pps: None };
        let mut assembler = Assembler::new(known);
        let units = run(&mut assembler, vec![packet(0, true, trail), packet(1, true, idr)]);
        assert!(units.is_empty(), "a key frame without a PPS anywhere shows nothing");
        let units = run(
            &mut assembler,
            vec![packet(2, false, pps), packet(2, true, idr), packet(3, true, trail)],
        );
        assert_eq!(units[0].payloads, [vps, sps, pps, idr]);
        assert!(units[0].is_key && !units[1].is_key);
    }

    #[test]
    fn a_frame_of_more_packets_than_any_camera_sends_is_withheld() {
        let mut assembler = Assembler::new(sdp_sets());
        for _ in 0..=MAX_UNIT_PACKETS {
            assert_eq!(assembler.push(packet(0, false, IDR)), [None, None]);
        }
        assert_eq!(assembler.push(packet(0, true, IDR)), [None, None]);
        assert_eq!(assembler.dropped_units(), 1);
        assert!(assembler.push(packet(3000, true, IDR))[1].is_some());
    }

    proptest! {
        #[test]
        fn hostile_packets_never_panic_and_never_exceed_the_payload_limit(
            packets in prop::collection::vec(
                (0i64..4, any::<bool>(), prop::collection::vec(any::<u8>(), 0..3000), 0u16..2), 0..20),
            is_h265: bool,
        ) {
            let mut assembler = if is_h265 {
                Assembler::new(h265::ParameterSets::default())
            } else {
                Assembler::new(sdp_sets())
            };
            for (timestamp_90k, marker, payload, lost_before) in packets {
                let packet =
                    RtpPacket { timestamp_90k, marker, payload: payload.into(), lost_before };
                for unit in assembler.push(packet).into_iter().flatten() {
                    prop_assert!(
                        unit.payloads.iter().all(|p| p.len() <= super::super::packetize::MAX_PAYLOAD_BYTES));
                }
            }
        }
    }
}
