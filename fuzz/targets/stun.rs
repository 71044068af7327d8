//! STUN binding requests: raw ones, and ones whose fingerprint and integrity are right, which no fuzzer
//! would find by itself.
#![no_main]

use damwall_fuzz::Input;
use damwall_fuzz::sansio::stun::{BindingRequest, IntegrityKey, is_stun, write_binding_request};
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "password-of-24-characters";

fuzz_target!(|data: &[u8]| {
    let key = IntegrityKey::new(PASSWORD);
    check(data, &key);

    let mut input = Input::new(data);
    let is_repaired = input.byte() & 1 != 0;
    if is_repaired {
        check(&repaired(input.rest()), &key);
    } else if let Ok(username) = std::str::from_utf8(input.chunk()) {
        let mut request = Vec::new();
        write_binding_request(username, [7; 12], &key, &mut request);
        let read = BindingRequest::parse(&request).expect("what we write is read");
        assert_eq!(read.authenticate(&key), Ok(()));
        assert!(read.use_candidate);
        let (local, remote) = username.split_once(':').unwrap_or((username, ""));
        assert_eq!((read.local_ufrag(), read.remote_ufrag()), (local, remote));
        // What follows the message is not part of it.
        request.extend(input.chunk());
        check(&request, &key);
    }
});

fn check(datagram: &[u8], key: &IntegrityKey) {
    let Ok(request) = BindingRequest::parse(datagram) else { return };
    assert!(is_stun(datagram));
    let _ = request.authenticate(key);
    let _ = (request.local_ufrag(), request.remote_ufrag());
    for from in ["192.0.2.1:32853", "[2001:db8::1]:1"] {
        let mut response = vec![1, 2, 3];
        let from = from.parse().expect("an address");
        request.write_success(from, key, &mut response);
        assert!(is_stun(&response[3..]));
        assert_eq!(response[3 + 8..3 + 20], datagram[8..20], "the request's transaction");
        // Hardly longer than the request, which may come from a forged address.
        assert!(response.len() - 3 <= datagram.len() + 32);
    }
}

/// The bytes as attributes of a binding request with the fingerprint that they need.
fn repaired(attributes: &[u8]) -> Vec<u8> {
    let attributes = &attributes[..attributes.len() / 4 * 4];
    let mut datagram = vec![0, 1];
    datagram.extend((attributes.len() as u16 + 8).to_be_bytes());
    datagram.extend([0x21, 0x12, 0xa4, 0x42]);
    datagram.extend([9; 12]);
    datagram.extend(attributes);
    let fingerprint = crc32fast::hash(&datagram) ^ 0x5354_554e;
    datagram.extend([0x80, 0x28, 0, 4]);
    datagram.extend(fingerprint.to_be_bytes());
    datagram
}
