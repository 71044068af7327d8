//! What ffmpeg says on the loopback interface: requests, packets, and its SDP.
#![no_main]

use bytes::BytesMut;
use damwall_fuzz::sansio::rtsp::{Announced, Message, Unwrap};
use libfuzzer_sys::fuzz_target;

fn messages(chunks: std::slice::Chunks<'_, u8>) -> (Vec<Message>, bool) {
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let before = buffer.len();
            match Message::take(&mut buffer) {
                Ok(Some(message)) => {
                    assert!(buffer.len() < before, "a message takes bytes");
                    messages.push(message);
                }
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

fuzz_target!(|data: &[u8]| {
    let (whole, has_failed) = messages(data.chunks(data.len().max(1)));
    assert_eq!(messages(data.chunks(7)), (whole.clone(), has_failed), "however it is cut");
    let mut unwrap = Unwrap::default();
    for message in whole {
        match message {
            Message::Request(request) => {
                let answer = request.answer("v=0\r\n");
                assert!(answer.starts_with("RTSP/1.0 200 OK\r\n") && answer.contains("\r\n\r\n"));
                let _ = Announced::of_sdp(&request.body);
            }
            Message::Interleaved(_, packet) => {
                if let Some(timestamp) = packet.first_chunk::<4>() {
                    let timestamp = u32::from_be_bytes(*timestamp);
                    assert_eq!(unwrap.next(timestamp) as u32, timestamp);
                }
            }
        }
    }
    if let Some(Announced::Video(sets)) = Announced::of_sdp(data) {
        let _ = sets.format("main");
    }
});
