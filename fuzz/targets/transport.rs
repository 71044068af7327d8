//! Datagrams of nobody in particular at a session that has not connected: checks with the right
//! credentials, then anything.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use damwall_fuzz::Input;
use damwall_fuzz::sansio::{
    dtls::Identity,
    format::Codec,
    outbox::Outbox,
    sdp::write::{Agreed, ExtensionIds, Ssrcs},
    srtp::DtlsRole,
    stun::{IntegrityKey, write_binding_request},
    transport::{IceCredentials, TransportParameters},
    transport_address::TransportAddress,
    wall_clock::WallClock,
    whep_session::{Event, SessionParameters, WhepSession},
};
use libfuzzer_sys::fuzz_target;

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::generate().expect("an identity"));
const PASSWORD: &str = "server-password-24-chars";

fn parameters(now: Instant) -> SessionParameters {
    let ice = IceCredentials {
        local_ufrag: "serverfr".into(),
        local_pwd: PASSWORD.into(),
        remote_ufrag: "peer".into(),
    };
    let video = Agreed {
        mid: "0".into(),
        codec: Codec::H264,
        payload_type: 102,
        rtx: Some(103),
        has_remb: true,
        extensions: ExtensionIds::default(),
    };
    SessionParameters {
        transport: TransportParameters { ice, remote_fingerprint: [1; 32] },
        role: DtlsRole::Server,
        video,
        audio: None,
        ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
        clock: WallClock::new(now, Duration::from_secs(1_700_000_000)),
        seed: [1, 2, 3, 4],
    }
}

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::now();
    let mut session = WhepSession::new(parameters(now), &IDENTITY, now);
    let mut out = Outbox::default();
    let addresses = ["192.0.2.1:1", "192.0.2.2:2"];
    let addresses = addresses.map(|text| TransportAddress::Udp(text.parse().expect("an address")));
    let mut checked = [false; 2];
    let mut input = Input::new(data);
    while !input.is_empty() {
        let choice = input.byte();
        let from = usize::from(choice & 1);
        let event = match choice >> 1 & 3 {
            0 | 1 => {
                let mut datagram = input.chunk().to_vec();
                session.on_datagram(now, addresses[from], &mut datagram, &mut out)
            }
            2 => {
                let (key, mut check) = (IntegrityKey::new(PASSWORD), Vec::new());
                write_binding_request("serverfr:peer", [7; 12], &key, &mut check);
                checked[from] = true;
                session.on_datagram(now, addresses[from], &mut check, &mut out)
            }
            _ => {
                now += Duration::from_millis(u64::from(choice >> 3) * 20);
                session.on_timer(now, &mut out)
            }
        };
        for (to, _) in out.datagrams() {
            let to = addresses.iter().position(|address| *address == to).expect("one of the two");
            assert!(checked[to], "nothing is sent to an address that was not checked");
        }
        assert!(out.len_bytes() < 64 << 10);
        out.clear();
        match event {
            Some(Event::Closed(_)) => break,
            Some(event) => panic!("{event:?} without a certificate"),
            None => {}
        }
        assert!(session.layers().is_none() && !session.transport().is_connected());
    }
    session.close(&mut out);
});
