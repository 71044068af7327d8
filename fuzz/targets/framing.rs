//! Streams of frames, cut anywhere.
#![no_main]

use bytes::BytesMut;
use damwall_fuzz::Input;
use damwall_fuzz::sansio::framing::{MAX_FRAME_BYTES, take_frame, write_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let cut = usize::from(input.byte()) + 1;
    let stream = input.rest();

    let mut whole = BytesMut::from(stream);
    let mut frames = Vec::new();
    let outcome = loop {
        match take_frame(&mut whole) {
            Ok(Some(frame)) => frames.push(frame.to_vec()),
            other => break other.map(|_| ()),
        }
    };
    assert!(frames.iter().all(|frame| (1..=MAX_FRAME_BYTES).contains(&frame.len())));
    assert!(outcome.is_err() || whole.len() < 2 + MAX_FRAME_BYTES, "what waits is bounded");

    let (mut received, mut in_pieces, mut ended) = (BytesMut::new(), Vec::new(), Ok(()));
    for piece in stream.chunks(cut) {
        received.extend_from_slice(piece);
        while ended.is_ok() {
            match take_frame(&mut received) {
                Ok(Some(frame)) => in_pieces.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => ended = Err(error),
            }
        }
    }
    assert_eq!((&in_pieces, ended), (&frames, outcome));

    let mut written = Vec::new();
    frames.iter().for_each(|frame| write_frame(frame, &mut written));
    let mut again = BytesMut::from(&written[..]);
    for frame in &frames {
        let read = take_frame(&mut again).expect("what we write is read").expect("whole");
        assert_eq!(read, frame[..]);
    }
    assert!(again.is_empty());
});
