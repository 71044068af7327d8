//! NAL units into RTP payloads of bounded size. Must not: add RTP headers.
//!
//! Source: RFC 6184 §5.6 (single NAL unit), §5.8 (FU-A).

use bytes::{BufMut, Bytes, BytesMut};

use super::h264::{FU_A, H264Error, nals_of_payloads};

/// Largest RTP payload sent to viewers, in bytes: leaves room for RTP, SRTP, UDP and IP headers and
/// a tunnel or two within a 1500-byte MTU.
pub const MAX_PAYLOAD_BYTES: usize = 1200;

/// Appends the payloads of one NAL unit to `payloads`: itself if it fits, else equal FU-A fragments.
pub fn packetize(nal: &Bytes, payloads: &mut Vec<Bytes>) {
    let Some(&header) = nal.first() else { return };
    if nal.len() <= MAX_PAYLOAD_BYTES {
        payloads.push(nal.clone());
        return;
    }
    let body = nal.slice(1..);
    let fragment_count = body.len().div_ceil(MAX_PAYLOAD_BYTES - 2);
    // Equal sizes let the sender hand all of them to the kernel as one segmented write.
    let fragment_len = body.len().div_ceil(fragment_count);
    let mut at = 0;
    while at < body.len() {
        let end = (at + fragment_len).min(body.len());
        let start_bit = if at == 0 { 0x80 } else { 0 };
        let end_bit = if end == body.len() { 0x40 } else { 0 };
        let mut payload = BytesMut::with_capacity(2 + end - at);
        payload.put_u8(header & 0xe0 | FU_A);
        payload.put_u8(start_bit | end_bit | header & 0x1f);
        payload.put_slice(&body[at..end]);
        payloads.push(payload.freeze());
        at = end;
    }
}

/// The same access unit in payloads that all fit; the payloads themselves when they already do.
///
/// # Errors
/// When an oversized access unit breaks RFC 6184.
pub fn refit(payloads: Vec<Bytes>) -> Result<Vec<Bytes>, H264Error> {
    if payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD_BYTES) {
        return Ok(payloads);
    }
    let mut fitted = Vec::with_capacity(payloads.len() * 2);
    for nal in nals_of_payloads(&payloads)? {
        packetize(&nal, &mut fitted);
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
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
