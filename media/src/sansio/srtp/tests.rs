//! Both directions together: vectors of libsrtp, round trips, replays, forgeries.

use proptest::prelude::*;

use super::*;
use crate::sansio::rtp;

const PROFILES: [Profile; 3] = [Profile::Aes128CmSha1_80, Profile::Aes128Gcm, Profile::Aes256Gcm];
const FIELDS: RtpFields = RtpFields { payload_type: 96, marker: true, timestamp: 0x5678_9abc };
const SSRC: u32 = 0xfeed_f00d;

fn endpoint(profile: Profile, role: DtlsRole) -> Endpoint {
    // Client key, server key, client salt, server salt; all different.
    let exported: Vec<u8> = (1..).take(profile.exported_len()).collect();
    MasterKeys::split(profile, &exported, role).unwrap().into_endpoint().unwrap()
}

fn pair(profile: Profile) -> (Endpoint, Endpoint) {
    (endpoint(profile, DtlsRole::Server), endpoint(profile, DtlsRole::Client))
}

fn seal(sender: &mut RtpSender, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sender.seal(FIELDS, &[], &[payload], &mut out).unwrap();
    out
}

/// Keys of a client with the master key 01 02 … and the master salt 80 81 ….
fn client_of_vectors(profile: Profile) -> Endpoint {
    let key: Vec<u8> = (1..).take(profile.key_len()).collect();
    let salt: Vec<u8> = (0x80..).take(profile.salt_len()).collect();
    let exported = [&key[..], &key, &salt, &salt].concat();
    let keys = MasterKeys::split(profile, &exported, DtlsRole::Client).unwrap();
    keys.into_endpoint().unwrap()
}

#[test]
fn rtp_is_sealed_as_libsrtp_seals_it() {
    // Computed with libsrtp 2.7.0 (pylibsrtp 1.0.0).
    let check = |profile, first: &str, rolled_over: &str| {
        let sent = |sequence_number: u64| {
            let mut sender = client_of_vectors(profile).rtp_senders;
            let mut sender = sender.sender(SSRC, 0).unwrap();
            sender.skip_to(sequence_number);
            let mut out = Vec::new();
            let text = b"Gallia est omnis divisa in partes tres";
            let parts = [&text[..2], &text[2..]];
            sender.seal(FIELDS, &[(1, b"0"), (3, &[1, 2, 3])], &parts, &mut out).unwrap();
            hex::encode(out)
        };
        let header = "56789abcfeedf00dbede00021030320102030000";
        assert_eq!(sent(0x1234), format!("90e01234{header}{first}"), "{profile:?}");
        assert_eq!(sent(0x1_1000), format!("90e01000{header}{rolled_over}"), "{profile:?}");
    };
    check(
        Profile::Aes128CmSha1_80,
        "30ec698fc7420b860cc5d7859b3318fa5f2ad361ba97d1b15606b56bc0da36ac39fa46bfec9e\
         af5f90056805e9278e15",
        "756244e30b28ec5551f9db26af8bf9ca0551f78ad5a123d39be6e2b5124d913611543ddc2057\
         0058bce3a0ca8079e075",
    );
    check(
        Profile::Aes128Gcm,
        "e8e2a8bac85f29e29cfd57c324952894d8a0bbd3805353d59fc08d815187f6bf4935bb20754f\
         c655d0de1319b9ade2ec6da45f2acc08",
        "09e5dcaccdccf262dd1242868887db0a8e9a5b9b1d2860fc737aef69ed5463b750708c8c7865\
         23a32cc18ce2214e93cf04d115afaa53",
    );
    check(
        Profile::Aes256Gcm,
        "4d4dd54b6549fa3ffa5e63104ec87d2598da89b30a171fb109f23608b99fdc6fd4c188a58d35\
         2e8c451b05acb4e30df0d8f621c82391",
        "6a0796430106d97cdbc96273c2bf51bbf7c6b093fe5cac5d13203165f078884c22c05b46fa5a\
         a33d1a6d72653a32b5d8ae8720fcf766",
    );
}

#[test]
fn rtcp_is_sealed_as_libsrtp_seals_it() {
    // Computed with libsrtp 2.7.0 (pylibsrtp 1.0.0), which starts at index 1.
    let check = |profile, expected: &str| {
        let mut sender = client_of_vectors(profile).rtcp_sender;
        let mut compound = hex::decode("81c90007feedf00d").unwrap();
        compound.extend(0..24);
        sender.seal(&compound, &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        sender.seal(&compound, &mut out).unwrap();
        assert_eq!(hex::encode(out), format!("81c90007feedf00d{expected}"), "{profile:?}");
    };
    check(
        Profile::Aes128CmSha1_80,
        "08834f5f84963263319ac39b03a0047c32318f95b02a852b800000013074228f7434d6f85d2a",
    );
    check(
        Profile::Aes128Gcm,
        "7d044666880cc902beecf4b6011aba8ba38f03a44144ffa18653547b6e905c82ab02ab200eb3e102\
         80000001",
    );
    check(
        Profile::Aes256Gcm,
        "62f93713eafc23f175ac2f7734cd65e6d3d2f64d09c0b1cb53730f86ad6635dba0e9861720d47c63\
         80000001",
    );
}

#[test]
fn each_role_opens_what_the_other_seals() {
    for profile in PROFILES {
        let (mut server, mut client) = pair(profile);
        for _ in 0..2 {
            let mut sender = server.rtp_senders.sender(SSRC, 7).unwrap();
            let extensions: [(u8, &[u8]); 1] = [(4, b"mid")];
            let mut packet = Vec::new();
            let sealed = sender.seal(FIELDS, &extensions, &[b"\x00\x01", b"media"], &mut packet);
            assert_eq!(sealed, Ok(7));
            let opened = client.rtp_receiver.open(&mut packet).unwrap();
            let opened = rtp::Packet::parse(opened).unwrap();
            assert_eq!(opened.payload, b"\x00\x01media");
            assert_eq!(opened.extensions.get(4), Some(&b"mid"[..]));
            assert_eq!(opened.header.sequence_number, 7);

            let compound = b"\x80\xc9\0\x01\0\0\0\x07";
            let mut packet = Vec::new();
            server.rtcp_sender.seal(compound, &mut packet).unwrap();
            assert_eq!(client.rtcp_receiver.open(&mut packet), Ok(&compound[..]));
            std::mem::swap(&mut server, &mut client);
        }
    }
}

#[test]
fn nobody_opens_what_they_sealed_themselves() {
    for profile in PROFILES {
        let mut server = endpoint(profile, DtlsRole::Server);
        let mut sender = server.rtp_senders.sender(SSRC, 0).unwrap();
        let mut packet = seal(&mut sender, b"media");
        assert_eq!(server.rtp_receiver.open(&mut packet), Err(SrtpError::NotAuthentic));
    }
}

#[test]
fn no_nonce_is_ever_used_twice() {
    for profile in PROFILES {
        let mut senders = endpoint(profile, DtlsRole::Server).rtp_senders;
        let mut seen = std::collections::HashSet::new();
        // Media, retransmission and audio share the key.
        for ssrc in [1, 2, 3] {
            let mut sender = senders.sender(ssrc, 0).unwrap();
            // Past a roll-over of the sequence number; equal plaintexts would give equal bodies.
            for n in 0..70_000u32 {
                assert_eq!(sender.next_sequence_number(), n as u16);
                let body = seal(&mut sender, &[0; 16])[12..28].to_vec();
                assert!(seen.insert(body), "packet {n} of {ssrc} repeats a nonce");
            }
        }
    }
}

#[test]
fn packets_are_opened_across_a_roll_over_in_any_order() {
    for profile in PROFILES {
        let (mut server, mut client) = pair(profile);
        let mut sender = server.rtp_senders.sender(SSRC, 0x7ff0).unwrap();
        client.rtp_receiver.open(&mut seal(&mut sender, b"first")).unwrap();
        for roll_over in 1..4 {
            sender.skip_to((roll_over << 16) - 20);
            let mut packets: Vec<_> =
                (0..40).map(|n| seal(&mut sender, &[n, roll_over as u8])).collect();
            // Pairs change places, also around the roll-over; the very first one waits longest.
            packets[1..].chunks_mut(2).for_each(<[_]>::reverse);
            packets.rotate_left(1);
            for packet in &packets {
                let opened = client.rtp_receiver.open(&mut packet.clone()).map(<[u8]>::len);
                assert_eq!(opened, Ok(14), "{profile:?}");
            }
            for packet in &packets {
                let again = client.rtp_receiver.open(&mut packet.clone()).map(<[u8]>::len);
                assert_eq!(again, Err(SrtpError::Replayed));
            }
            // A step of less than half the range between the roll-overs.
            sender.skip_to((roll_over << 16) + 0x7ff8);
            client.rtp_receiver.open(&mut seal(&mut sender, b"step")).unwrap();
        }
    }
}

#[test]
fn a_packet_older_than_the_replay_window_is_refused() {
    let (mut server, mut client) = pair(Profile::Aes128Gcm);
    let mut sender = server.rtp_senders.sender(SSRC, 0).unwrap();
    let mut packets: Vec<_> = (0..130).map(|_| seal(&mut sender, b"media")).collect();
    client.rtp_receiver.open(&mut packets[129]).unwrap();
    assert_eq!(client.rtp_receiver.open(&mut packets[1]), Err(SrtpError::Replayed));
    client.rtp_receiver.open(&mut packets[2]).unwrap();
}

#[test]
fn a_replayed_rtcp_packet_is_refused() {
    for profile in PROFILES {
        let (mut server, mut client) = pair(profile);
        let packets = [1, 2, 3].map(|ssrc| {
            let mut packet = Vec::new();
            let compound = [0x80, 0xc9, 0, 1, 0, 0, 0, ssrc];
            server.rtcp_sender.seal(&compound, &mut packet).unwrap();
            packet
        });
        for packet in packets.iter().rev() {
            client.rtcp_receiver.open(&mut packet.clone()).unwrap();
            let again = client.rtcp_receiver.open(&mut packet.clone()).map(<[u8]>::len);
            assert_eq!(again, Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn a_peer_cannot_make_us_remember_streams_without_end() {
    let (mut server, mut client) = pair(Profile::Aes128Gcm);
    let mut forged = seal(&mut server.rtp_senders.sender(1000, 0).unwrap(), b"media");
    forged[11] ^= 1;
    assert_eq!(client.rtp_receiver.open(&mut forged), Err(SrtpError::NotAuthentic));
    for ssrc in 0..MAX_SSRCS as u32 {
        let mut sender = server.rtp_senders.sender(ssrc, 0).unwrap();
        client.rtp_receiver.open(&mut seal(&mut sender, b"media")).unwrap();
    }
    let mut sender = server.rtp_senders.sender(SSRC, 0).unwrap();
    let mut packet = seal(&mut sender, b"media");
    assert_eq!(client.rtp_receiver.open(&mut packet), Err(SrtpError::TooManySsrcs));
}

#[test]
fn short_keying_material_is_refused() {
    for profile in PROFILES {
        let exported = vec![7; profile.exported_len() - 1];
        let split = MasterKeys::split(profile, &exported, DtlsRole::Server);
        assert_eq!(split.map(|_| ()), Err(SrtpError::ShortKeyingMaterial));
    }
}

proptest! {
    #[test]
    fn a_packet_with_a_changed_byte_is_refused(
        profile in proptest::sample::select(&PROFILES),
        at: proptest::sample::Index,
        mask in 1u8..,
    ) {
        let (mut server, mut client) = pair(profile);
        let mut sender = server.rtp_senders.sender(SSRC, 5).unwrap();
        let packet = seal(&mut sender, b"media");
        let mut changed = packet.clone();
        changed[at.index(packet.len())] ^= mask;
        let opened = client.rtp_receiver.open(&mut changed).map(<[u8]>::len);
        prop_assert_eq!(opened, Err(SrtpError::NotAuthentic));
        // Nothing was remembered of it.
        prop_assert!(client.rtp_receiver.open(&mut packet.clone()).is_ok());

        let mut packet = Vec::new();
        server.rtcp_sender.seal(b"\x80\xc9\0\x01\0\0\0\x07", &mut packet).unwrap();
        let mut changed = packet.clone();
        changed[at.index(packet.len())] ^= mask;
        let opened = client.rtcp_receiver.open(&mut changed).map(<[u8]>::len);
        prop_assert_eq!(opened, Err(SrtpError::NotAuthentic));
        prop_assert!(client.rtcp_receiver.open(&mut packet).is_ok());
    }

    #[test]
    fn hostile_packets_are_refused(
        profile in proptest::sample::select(&PROFILES),
        packet in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut endpoint = endpoint(profile, DtlsRole::Server);
        let opened = endpoint.rtp_receiver.open(&mut packet.clone()).map(<[u8]>::len);
        prop_assert_eq!(opened, Err(SrtpError::NotAuthentic));
        let opened = endpoint.rtcp_receiver.open(&mut packet.clone()).map(<[u8]>::len);
        prop_assert_eq!(opened, Err(SrtpError::NotAuthentic));
    }
}
