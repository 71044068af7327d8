//! NAL units into RTP payloads of bounded size. Must not: add RTP headers.
//!
//! Source: RFC 6184 §5.6 (single NAL unit), §5.8 (FU-A); RFC 7798 §4.4.1, §4.4.3 (the same of H.265).

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    h264::{self, FU_A, H264Error},
    h265::{self, FU, H265Error},
};

/// Largest RTP payload sent to viewers, in bytes: leaves room for RTP, SRTP, UDP and IP headers and
/// a tunnel or two within a 1500-byte MTU.
pub const MAX_PAYLOAD_BYTES: usize = 1200;

/// Appends the payloads of one H.264 NAL unit to `payloads`: itself if it fits, else equal FU-A fragments.
pub fn packetize(nal: &Bytes, payloads: &mut Vec<Bytes>) {
    let Some(&header) = nal.first() else { return };
    fragment(nal, &[header & 0xe0 | FU_A], header & 0x1f, payloads);
}

/// Appends the payloads of one H.265 NAL unit to `payloads`: itself if it fits, else equal fragments.
pub fn packetize_h265(nal: &Bytes, payloads: &mut Vec<Bytes>) {
    let [first, second, ..] = nal[..] else { return };
    fragment(nal, &[first & 0x81 | FU << 1, second], h265::nal_type(nal), payloads);
}

/// `indicator` replaces the NAL unit's header, and is as long.
fn fragment(nal: &Bytes, indicator: &[u8], nal_type: u8, payloads: &mut Vec<Bytes>) {
    if nal.len() <= MAX_PAYLOAD_BYTES {
        payloads.push(nal.clone());
        return;
    }
    let body = nal.slice(indicator.len()..);
    let fragment_count = body.len().div_ceil(MAX_PAYLOAD_BYTES - indicator.len() - 1);
    // Equal sizes let the sender hand all of them to the kernel as one segmented write.
    let fragment_len = body.len().div_ceil(fragment_count);
    let mut at = 0;
    while at < body.len() {
        let end = (at + fragment_len).min(body.len());
        let start_bit = if at == 0 { 0x80 } else { 0 };
        let end_bit = if end == body.len() { 0x40 } else { 0 };
        let mut payload = BytesMut::with_capacity(indicator.len() + 1 + end - at);
        payload.put_slice(indicator);
        payload.put_u8(start_bit | end_bit | nal_type);
        payload.put_slice(&body[at..end]);
        payloads.push(payload.freeze());
        at = end;
    }
}

/// The same H.264 access unit in payloads that all fit; the payloads themselves when they already do.
///
/// # Errors
/// When an oversized access unit breaks RFC 6184.
pub fn refit(payloads: Vec<Bytes>) -> Result<Vec<Bytes>, H264Error> {
    if fits(&payloads) {
        return Ok(payloads);
    }
    let mut fitted = Vec::with_capacity(payloads.len() * 2);
    for nal in h264::nals_of_payloads(&payloads)? {
        packetize(&nal, &mut fitted);
    }
    Ok(fitted)
}

/// As [`refit`], of H.265.
///
/// # Errors
/// When an oversized access unit breaks RFC 7798.
pub fn refit_h265(payloads: Vec<Bytes>) -> Result<Vec<Bytes>, H265Error> {
    if fits(&payloads) {
        return Ok(payloads);
    }
    let mut fitted = Vec::with_capacity(payloads.len() * 2);
    for nal in h265::nals_of_payloads(&payloads)? {
        packetize_h265(&nal, &mut fitted);
    }
    Ok(fitted)
}

fn fits(payloads: &[Bytes]) -> bool {
    payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{h264::nals_of_payloads, *};

    proptest! {
        #[test]
        fn h265_fragments_fit_and_join_back(
            nal_type in 0u8..48,
            second: u8,
            lens in prop::collection::vec(0usize..20_000, 1..4),
        ) {
            let nal = |len: usize| {
                let body = (0..len).map(|i| (i % 251) as u8);
                [nal_type << 1, second].into_iter().chain(body).collect::<Bytes>()
            };
            let nals: Vec<Bytes> = lens.into_iter().map(nal).collect();
            let mut payloads = Vec::new();
            for nal in &nals {
                packetize_h265(nal, &mut payloads);
            }
            prop_assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD_BYTES));
            prop_assert_eq!(h265::nals_of_payloads(&payloads), Ok(nals.clone()));
            prop_assert_eq!(refit_h265(nals), Ok(payloads));
        }

        #[test]
        fn fragments_fit_and_join_back(
            header in (0u8..=0x7f).prop_filter("a plain NAL type", |h| (1..=23).contains(&(h & 0x1f))),
            lens in prop::collection::vec(1usize..20_000, 1..4),
        ) {
            let nals: Vec<Bytes> = lens
                .iter()
                .map(|&len| {
                    let mut nal = vec![header];
                    nal.extend((0..len).map(|i| (i % 251) as u8));
                    nal.into()
                })
                .collect();
            let mut payloads = Vec::new();
            for nal in &nals {
                packetize(nal, &mut payloads);
            }
            prop_assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD_BYTES));
            prop_assert_eq!(nals_of_payloads(&payloads), Ok(nals));
        }
    }

    #[test]
    fn payloads_that_fit_are_passed_through_untouched() {
        let payloads = vec![Bytes::from_static(&[0x65, 1, 2]), Bytes::from_static(&[0x41, 3])];
        assert_eq!(refit(payloads.clone()), Ok(payloads));
    }

    #[test]
    fn an_oversized_payload_is_fragmented_anew() {
        let mut nal = vec![0x65];
        nal.resize(4000, 7);
        let fitted = refit(vec![nal.clone().into()]).unwrap();
        assert_eq!(fitted.len(), 4);
        assert_eq!(nals_of_payloads(&fitted), Ok(vec![nal.into()]));
    }
}
