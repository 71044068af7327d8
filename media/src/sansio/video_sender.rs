//! One viewer's video: access units of a camera's layers become one RTP stream that never breaks.
//!
//! Sequence numbers and timestamps go on over layer switches, pauses and lost cameras; each of those begins
//! at a key frame. Must not: own a socket, know ICE or DTLS, or choose a layer.
//!
//! Source: RFC 3550 §5.1, RFC 4588 (retransmission), RFC 8285 (extensions).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    access_unit::AccessUnit,
    outbox::Outbox,
    rtcp::SenderInfo,
    rtp::{abs_capture_time, abs_send_time, playout_delay},
    sdp::write::Agreed,
    srtp::{RtpFields, RtpSender, SrtpError},
    transport_address::TransportAddress,
    wall_clock::WallClock,
};

/// Pace of a burst, in bytes per second: fast enough to show a picture at once, slow enough for a
/// browser's receive buffer.
const BURST_BYTES_PER_SEC: u64 = 25_000_000;
const BURST_TICK: Duration = Duration::from_millis(2);
/// Live frames that came while a burst went out; more mean that it never catches up.
const MAX_WAITING_UNITS: usize = 1024;
/// Most spacing of replayed frames: 1 ms, so that the decoder runs through them without waiting.
const REPLAY_STEP_90K: i64 = 90;
/// A longer GOP, in bytes, is not replayed: the viewer waits for the next key frame instead.
pub const MAX_REPLAY_BYTES: usize = 6 << 20;
/// Packets that can be asked for again.
const MAX_HISTORY_PACKETS: usize = 2048;
/// For how long they can be: a player that misses one for longer has given it up. What a viewer gets at
/// the same time as others it shares with them; what it keeps for longer is its own.
pub(super) const MAX_HISTORY_AGE: Duration = Duration::from_secs(3);
/// What may be sent again at once, in bytes; half of what is sent comes in addition.
const RETRANSMIT_BURST_BYTES: usize = 128 << 10;
/// Extensions that a receiver remembers go out on the first packet of a key frame, and this often besides.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(1);
/// What a receiver may hold frames back for, in ms: as little as it can, and never long.
const PLAYOUT_DELAY_MS: (u16, u16) = (0, 200);

/// See the module.
#[derive(Debug)]
pub struct VideoSender {
    agreed: Agreed,
    clock: WallClock,
    rtp: RtpSender,
    rtx: Option<RtpSender>,
    timestamp_offset: u32,
    state: State,
    /// Layer that is sent.
    layer: usize,
    /// Layer to go over to with its next unit.
    pending: Option<usize>,
    /// Added to the times of units so that time never goes back.
    shift_90k: i64,
    /// Time of the newest frame sent, shift included.
    last_90k: Option<i64>,
    history: History,
    retransmit_budget: usize,
    extensions_due: Instant,
    counters: Counters,
}

/// What is sent next.
#[derive(Debug)]
enum State {
    /// Nothing until it is begun anew.
    Paused,
    /// Nothing until the layer's next key frame.
    AwaitingKey,
    /// Catching up from the newest key frame, paced; what is queued has its time already.
    Burst { queue: VecDeque<(Arc<AccessUnit>, i64)>, max_units: usize, sent_until: Instant },
    /// Each unit as it comes.
    Live,
}

/// Values of the extensions that are not on every packet.
struct Rare {
    captured: [u8; 8],
    delay: [u8; 3],
}

/// Frames sent, by the packets they became.
#[derive(Debug, Default)]
struct History {
    frames: VecDeque<SentFrame>,
    packets: usize,
}

#[derive(Debug)]
struct SentFrame {
    /// Sequence number of its first packet.
    first: u16,
    timestamp: u32,
    sent_at: Instant,
    unit: Arc<AccessUnit>,
}

impl History {
    fn push(&mut self, frame: SentFrame) {
        self.forget_old(frame.sent_at);
        self.packets += frame.unit.payloads.len();
        self.frames.push_back(frame);
        while self.packets > MAX_HISTORY_PACKETS && self.frames.len() > 1 {
            self.drop_oldest();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.frames.front().is_some_and(|frame| now >= frame.sent_at + MAX_HISTORY_AGE) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.packets -= oldest.unit.payloads.len();
        }
    }

    /// The frame of a sequence number, and which of its packets that is.
    fn find(&self, sequence_number: u16) -> Option<(&SentFrame, usize)> {
        let newest = self.frames.back()?;
        let end = newest.first.wrapping_add(newest.unit.payloads.len() as u16);
        // Sequence numbers wrap, ages do not.
        let age = |number: u16| end.wrapping_sub(number);
        let wanted = age(sequence_number);
        if wanted == 0 || usize::from(wanted) > self.packets {
            return None;
        }
        // Oldest first: the first frame that begins at or after it is one too far.
        let at = self.frames.partition_point(|frame| age(frame.first) >= wanted);
        let frame = self.frames.get(at.checked_sub(1)?)?;
        let index = usize::from(sequence_number.wrapping_sub(frame.first));
        (index < frame.unit.payloads.len()).then_some((frame, index))
    }
}

/// What a sender has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets, retransmissions left out.
    pub packets: u64,
    /// Their payloads' bytes.
    pub octets: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// RTP timestamp of the newest frame, and when it had come in.
    pub newest_frame: Option<(u32, Instant)>,
}

impl VideoSender {
    /// A sender that waits to be begun.
    pub fn new(
        agreed: Agreed,
        clock: WallClock,
        rtp: RtpSender,
        rtx: Option<RtpSender>,
        timestamp_offset: u32,
        now: Instant,
    ) -> Self {
        Self {
            agreed,
            clock,
            rtp,
            rtx,
            timestamp_offset,
            state: State::Paused,
            layer: 0,
            pending: None,
            shift_90k: 0,
            last_90k: None,
            history: History::default(),
            retransmit_budget: RETRANSMIT_BURST_BYTES,
            extensions_due: now,
            counters: Counters::default(),
        }
    }

    /// Layer that is sent, or was last.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Layer it goes over to as soon as it can.
    pub fn pending_layer(&self) -> Option<usize> {
        self.pending
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// SSRC of the media.
    pub fn ssrc(&self) -> u32 {
        self.rtp.ssrc()
    }

    /// Begins, or begins anew, with `layer`: `gop` holds the units from its newest key frame to just before
    /// the next live one, or nothing when there is no key frame at hand.
    ///
    /// The last replayed unit keeps its time; those before it are at most 1 ms apart, so that a decoder runs
    /// through them at once instead of playing the past in slow motion.
    pub fn begin(&mut self, now: Instant, layer: usize, gop: &[Arc<AccessUnit>]) {
        self.layer = layer;
        self.pending = None;
        let len_bytes: usize = gop.iter().map(|unit| unit.len_bytes()).sum();
        let Some(last) = gop.last().filter(|_| len_bytes <= MAX_REPLAY_BYTES) else {
            self.state = State::AwaitingKey;
            return;
        };
        let count = gop.len() as i64;
        self.shift_90k = 0;
        let mut step = REPLAY_STEP_90K;
        if let Some(last_sent) = self.last_90k {
            // All of it has to fit between what was sent and the live edge.
            let room = last.time as i64 - last_sent;
            if room < count {
                self.shift_90k = count - room;
            }
            step = ((room + self.shift_90k) / count).clamp(1, REPLAY_STEP_90K);
        }
        let end_90k = last.time as i64 + self.shift_90k;
        let timed = |(index, unit): (usize, &Arc<AccessUnit>)| {
            (unit.clone(), end_90k - step * (count - 1 - index as i64))
        };
        self.state = State::Burst {
            queue: gop.iter().enumerate().map(timed).collect(),
            max_units: gop.len() + MAX_WAITING_UNITS,
            sent_until: now,
        };
    }

    /// Goes over to another layer: at its next unit [`Self::is_awaited`] says so.
    pub fn switch_to(&mut self, layer: usize) {
        self.pending = (layer != self.layer).then_some(layer);
    }

    /// Whether the next unit of `layer` is to be given to [`Self::begin`], at the end of its GOP.
    pub fn is_awaited(&self, layer: usize) -> bool {
        self.pending == Some(layer) && !matches!(self.state, State::Paused)
    }

    /// Sends nothing until it is begun again, and keeps nothing.
    pub fn pause(&mut self) {
        self.state = State::Paused;
        self.history = History::default();
    }

    /// Lets go of what is too old to be asked for again; to be called once a second, for a camera that
    /// sends nothing pushes nothing out.
    pub fn forget_old(&mut self, now: Instant) {
        self.history.forget_old(now);
    }

    /// Whether it sends nothing.
    pub fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused)
    }

    /// Units were skipped: what follows cannot be decoded before the next key frame.
    pub fn restart_at_key(&mut self) {
        if !self.is_paused() {
            self.state = State::AwaitingKey;
        }
    }

    /// Takes the next live unit of a layer; those of others than the one that is sent are not for it.
    ///
    /// # Errors
    /// When SRTP cannot go on.
    pub fn on_unit(
        &mut self,
        now: Instant,
        layer: usize,
        unit: &Arc<AccessUnit>,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        if layer != self.layer {
            return Ok(());
        }
        if unit.is_key && matches!(self.state, State::AwaitingKey) {
            let room = self.last_90k.map_or(0, |last| last + 1 - unit.time as i64);
            self.shift_90k = room.max(0);
            self.state = State::Live;
        }
        let time_90k = unit.time as i64 + self.shift_90k;
        match &mut self.state {
            State::Paused | State::AwaitingKey => Ok(()),
            State::Burst { queue, max_units, .. } if queue.len() >= *max_units => {
                self.state = State::AwaitingKey;
                Ok(())
            }
            State::Burst { queue, .. } => {
                queue.push_back((unit.clone(), time_90k));
                self.send_burst(now, peer, out)
            }
            State::Live => self.send(now, unit, time_90k, peer, out),
        }
    }

    /// Sends what a burst's pace and `out` allow by now.
    ///
    /// # Errors
    /// When SRTP cannot go on.
    pub fn send_burst(
        &mut self,
        now: Instant,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        loop {
            let State::Burst { queue, sent_until, .. } = &mut self.state else { return Ok(()) };
            // Time that passed unused is not made up for by a larger burst.
            *sent_until = (*sent_until).max(now.checked_sub(BURST_TICK).unwrap_or(now));
            if *sent_until > now || out.is_full() {
                return Ok(());
            }
            let Some((unit, time_90k)) = queue.pop_front() else {
                self.state = State::Live;
                return Ok(());
            };
            let nanos = unit.len_bytes() as u64 * 1_000_000_000 / BURST_BYTES_PER_SEC;
            *sent_until += Duration::from_nanos(nanos);
            self.send(now, &unit, time_90k, peer, out)?;
        }
    }

    /// When [`Self::send_burst`] is wanted next.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Burst { sent_until, .. } => Some(*sent_until),
            _ => None,
        }
    }

    fn timestamp(&self, time_90k: i64) -> u32 {
        (time_90k as u32).wrapping_add(self.timestamp_offset)
    }

    fn send(
        &mut self,
        now: Instant,
        unit: &Arc<AccessUnit>,
        time_90k: i64,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        let timestamp = self.timestamp(time_90k);
        let first = self.rtp.next_sequence_number();
        let last = unit.payloads.len().saturating_sub(1);
        let sent_at = abs_send_time(self.clock.ntp(now).0);
        let is_due = unit.is_key || now >= self.extensions_due;
        for (index, payload) in unit.payloads.iter().enumerate() {
            let fields = RtpFields {
                payload_type: self.agreed.payload_type,
                marker: index == last,
                timestamp,
            };
            // Packets of a frame are of one length, so that the kernel takes them as one: what is not
            // needed on each goes on the first of few frames.
            if is_due && index == 0 {
                self.extensions_due = now + EXTENSION_INTERVAL;
                let captured = abs_capture_time(self.clock.ntp(unit.arrived_at).0);
                let delay = playout_delay(PLAYOUT_DELAY_MS.0, PLAYOUT_DELAY_MS.1);
                self.seal(fields, payload, sent_at, Some(Rare { captured, delay }), peer, out)?;
            } else {
                self.seal(fields, payload, sent_at, None, peer, out)?;
            }
        }
        let len_bytes = unit.len_bytes();
        self.counters.packets += unit.payloads.len() as u64;
        self.counters.octets += len_bytes as u64;
        self.counters.newest_frame = Some((timestamp, unit.arrived_at));
        self.retransmit_budget =
            (self.retransmit_budget + len_bytes / 2).min(RETRANSMIT_BURST_BYTES);
        self.history.push(SentFrame { first, timestamp, sent_at: now, unit: unit.clone() });
        self.last_90k = Some(time_90k);
        Ok(())
    }

    fn seal(
        &mut self,
        fields: RtpFields,
        payload: &[u8],
        sent_at: [u8; 3],
        rare: Option<Rare>,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        let ids = self.agreed.extensions;
        let mut values: [(u8, &[u8]); 4] = [(0, &[]); 4];
        let mut count = 0;
        let mut add = |id: Option<u8>, value| {
            if let Some(id) = id {
                values[count] = (id, value);
                count += 1;
            }
        };
        add(ids.abs_send_time, &sent_at);
        if let Some(Rare { captured, delay }) = &rare {
            add(ids.mid, self.agreed.mid.as_bytes());
            add(ids.playout_delay, delay);
            add(ids.abs_capture_time, captured);
        }
        let values = &values[..count];
        out.push(peer, |buffer| self.rtp.seal(fields, values, &[payload], buffer).map(|_| ()))
    }

    /// Whether [`Self::on_nack`] can send anything again.
    pub fn can_retransmit(&self) -> bool {
        self.rtx.is_some()
    }

    /// Sends packets again that the peer misses; those it no longer can are left out.
    ///
    /// # Errors
    /// When SRTP cannot go on.
    pub fn on_nack(
        &mut self,
        now: Instant,
        lost: impl Iterator<Item = u16>,
        peer: TransportAddress,
        out: &mut Outbox,
    ) -> Result<(), SrtpError> {
        let Some((rtx, payload_type)) = self.rtx.as_mut().zip(self.agreed.rtx) else {
            return Ok(());
        };
        let sent_at = abs_send_time(self.clock.ntp(now).0);
        let extension = self.agreed.extensions.abs_send_time.map(|id| (id, &sent_at[..]));
        for sequence_number in lost {
            let Some((frame, index)) = self.history.find(sequence_number) else { continue };
            let payload = &frame.unit.payloads[index];
            let Some(left) = self.retransmit_budget.checked_sub(payload.len()) else {
                return Ok(());
            };
            self.retransmit_budget = left;
            let fields = RtpFields {
                payload_type,
                marker: index + 1 == frame.unit.payloads.len(),
                timestamp: frame.timestamp,
            };
            let original = sequence_number.to_be_bytes();
            out.push(peer, |buffer| {
                rtx.seal(fields, extension.as_slice(), &[&original, payload], buffer).map(|_| ())
            })?;
            self.counters.retransmitted += 1;
        }
        Ok(())
    }

    /// What a sender report says at `now`; nothing before the first frame, and nothing while the past is
    /// replayed, whose timestamps are not those of its time.
    pub fn report(&self, now: Instant) -> Option<SenderInfo> {
        if matches!(self.state, State::Burst { .. }) {
            return None;
        }
        let (timestamp, arrived_at) = self.counters.newest_frame?;
        let since = now.saturating_duration_since(arrived_at);
        Some(SenderInfo {
            ssrc: self.rtp.ssrc(),
            ntp: self.clock.ntp(now),
            rtp_timestamp: timestamp.wrapping_add((since.as_micros() * 9 / 100) as u32),
            packets: self.counters.packets as u32,
            octets: self.counters.octets as u32,
        })
    }
}

#[cfg(test)]
mod tests;
