//! RTP packets: what is read lies within the packet, and what is written is read again.
#![no_main]

use damwall_fuzz::Input;
use damwall_fuzz::sansio::rtp::{Header, MIN_HEADER_LEN, Packet, payload_offset, write_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = Packet::parse(data) {
        let offset = payload_offset(data).expect("the packet was read");
        assert!(offset >= MIN_HEADER_LEN && offset + packet.payload.len() <= data.len());
        assert_eq!(Header::parse(data), Ok(packet.header));
        let values: usize = packet.extensions.iter().map(|(_, value)| 1 + value.len()).sum();
        assert!(values <= data.len());
        for (id, _) in packet.extensions.iter() {
            assert!(packet.extensions.get(id).is_some());
        }
    }

    let mut input = Input::new(data);
    let header = Header {
        payload_type: input.byte() & 0x7f,
        marker: input.byte() & 1 != 0,
        sequence_number: input.word(),
        timestamp: input.word().into(),
        ssrc: input.word().into(),
    };
    let mut extensions = Vec::new();
    for _ in 0..input.byte() & 3 {
        extensions.push((input.byte(), input.chunk()));
    }
    let payload = input.rest();
    let mut written = Vec::new();
    write_header(&header, &extensions, &mut written);
    written.extend(payload);
    let read = Packet::parse(&written).expect("what we write is read");
    assert_eq!((read.header, read.payload), (header, payload));
    let fits = |(id, value): &(u8, &[u8])| (1..=14).contains(id) && (1..=16).contains(&value.len());
    extensions.retain(fits);
    assert_eq!(read.extensions.iter().collect::<Vec<_>>(), extensions);
});
