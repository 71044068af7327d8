//! A publisher's offer and our answer to it.
#![no_main]

use damwall_fuzz::sansio::{
    sdp::is_ufrag,
    whip_sdp::{MAX_LAYERS, WhipOffer},
};
use damwall_fuzz::{LOCAL, assert_is_ours};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let offer = match WhipOffer::parse(data) {
        Ok(offer) => offer,
        Err(error) => {
            let _ = (error.is_malformed(), error.to_string());
            return;
        }
    };
    assert!(is_ufrag(&offer.ice_ufrag));
    let receptions = [&offer.video, &offer.audio];
    let sections = receptions.iter().filter(|reception| reception.is_some()).count();
    assert_is_ours(&offer.answer(&LOCAL), sections, "recvonly");

    let mut payload_types = Vec::new();
    for reception in receptions.into_iter().flatten() {
        payload_types.extend([Some(reception.payload_type), reception.rtx].into_iter().flatten());
        assert!(reception.rids.len() <= MAX_LAYERS);
        for (index, rid) in reception.rids.iter().enumerate() {
            assert!(!rid.is_empty() && rid.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!reception.rids[..index].contains(rid));
        }
        assert!(reception.rids.is_empty() || reception.rid_extension.is_some());
    }
    let count = payload_types.len();
    payload_types.sort_unstable();
    payload_types.dedup();
    assert_eq!(payload_types.len(), count, "packets are told apart by payload type");
});
