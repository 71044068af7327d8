//! Datagrams in a byte stream: a length of two bytes before each. Must not: own a socket.
//!
//! Source: RFC 4571 §2, RFC 6544 §3 (ICE, DTLS and SRTP share it).

use bytes::{Buf as _, BytesMut};

/// Longest datagram taken: nothing of WebRTC is longer than a network packet.
pub const MAX_FRAME_BYTES: usize = 2048;

/// A frame is longer than any of WebRTC; where the next one begins is not worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is longer than {MAX_FRAME_BYTES}")]
pub struct FrameTooLong(pub usize);

/// Takes the next whole datagram off the front of what was received; `None` when more has to come.
/// Empty ones, which RFC 4571 allows to keep a connection open, are passed over.
///
/// # Errors
/// The stream cannot be read on.
pub fn take_frame(received: &mut BytesMut) -> Result<Option<BytesMut>, FrameTooLong> {
    loop {
        let Some(prefix) = received.first_chunk::<2>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len > MAX_FRAME_BYTES {
            return Err(FrameTooLong(len));
        }
        if received.len() < 2 + len {
            return Ok(None);
        }
        received.advance(2);
        if len > 0 {
            return Ok(Some(received.split_to(len)));
        }
    }
}

/// Appends a datagram of ours as a frame. One that no length can name is left out.
pub fn write_frame(datagram: &[u8], out: &mut Vec<u8>) {
    let Ok(len) = u16::try_from(datagram.len()) else { return };
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(datagram);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_is_too_long_ends_the_stream() {
        let mut received = BytesMut::from(&[0, 1, 7, 0x08, 0x01][..]);
        assert_eq!(take_frame(&mut received).unwrap().unwrap()[..], [7]);
        assert_eq!(take_frame(&mut received), Err(FrameTooLong(2049)));
    }

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
            cuts in prop::collection::vec(1usize..300, 1..50),
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                write_frame(datagram, &mut stream);
            }
            let (mut received, mut found) = (BytesMut::new(), Vec::new());
            let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                received.extend_from_slice(piece);
                while let Some(datagram) = take_frame(&mut received).unwrap() {
                    found.push(datagram.to_vec());
                }
                rest = later;
            }
            prop_assert!(received.is_empty());
            let sent: Vec<_> = datagrams.into_iter().filter(|d| !d.is_empty()).collect();
            prop_assert_eq!(found, sent);
        }

        #[test]
        fn hostile_streams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(datagram)) = take_frame(&mut received) {
                prop_assert!((1..=MAX_FRAME_BYTES).contains(&datagram.len()));
            }
        }
    }
}
