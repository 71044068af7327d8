//! What comes sealed: nothing but what was sealed is opened, and that once.
#![no_main]

use damwall_fuzz::Input;
use damwall_fuzz::sansio::srtp::{DtlsRole, Endpoint, MasterKeys, Profile, RtpFields, SrtpError};
use libfuzzer_sys::fuzz_target;

const EXPORTED: [u8; 88] = [0x5a; 88];

fn endpoint(profile: Profile, role: DtlsRole) -> Endpoint {
    let keys = MasterKeys::split(profile, &EXPORTED, role).expect("enough keying material");
    keys.into_endpoint().expect("keys are set up")
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let profile = match input.byte() % 3 {
        0 => Profile::Aes128Gcm,
        1 => Profile::Aes256Gcm,
        _ => Profile::Aes128CmSha1_80,
    };
    let mut ours = endpoint(profile, DtlsRole::Server);
    let mut theirs = endpoint(profile, DtlsRole::Client);
    let (change_at, change) = (usize::from(input.word()), input.byte());
    let raw = input.chunk();
    let payload = input.rest();

    assert_eq!(ours.rtp_receiver.open(&mut raw.to_vec()), Err(SrtpError::NotAuthentic));
    assert_eq!(ours.rtcp_receiver.open(&mut raw.to_vec()), Err(SrtpError::NotAuthentic));

    let mut sender = theirs.rtp_senders.sender(7, change_at as u16).expect("a new SSRC");
    let fields = RtpFields { payload_type: 96, marker: true, timestamp: 3000 };
    let mut sealed = Vec::new();
    sender.seal(fields, &[(1, b"0")], &[payload], &mut sealed).expect("sealed");
    let mut changed = sealed.clone();
    let at = change_at % changed.len();
    changed[at] ^= change;
    if change != 0 {
        assert!(ours.rtp_receiver.open(&mut changed).is_err(), "byte {at} changed unnoticed");
    }
    let mut copy = sealed.clone();
    assert!(ours.rtp_receiver.open(&mut copy).expect("opened").ends_with(payload));
    assert_eq!(ours.rtp_receiver.open(&mut sealed), Err(SrtpError::Replayed));

    let mut compound = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    compound.extend(payload);
    let mut sealed = Vec::new();
    theirs.rtcp_sender.seal(&compound, &mut sealed).expect("sealed");
    let mut changed = sealed.clone();
    let at = change_at % changed.len();
    changed[at] ^= change;
    if change != 0 {
        assert!(ours.rtcp_receiver.open(&mut changed).is_err(), "byte {at} changed unnoticed");
    }
    assert_eq!(ours.rtcp_receiver.open(&mut sealed.clone()), Ok(&compound[..]));
    assert_eq!(ours.rtcp_receiver.open(&mut sealed), Err(SrtpError::Replayed));
});
