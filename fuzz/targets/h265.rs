//! H.265 payloads and parameter sets.
#![no_main]

use bytes::Bytes;
use damwall_fuzz::sansio::{
    h264::Contents,
    h265::{AP, ParameterSets, inspect, nal_type, nals_of_payloads},
    packetize::refit_h265,
};
use damwall_fuzz::{Input, assert_fit, payloads};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let payloads = payloads(&mut Input::new(data));
    let (mut sets, mut contents) = (ParameterSets::default(), Contents::default());
    for payload in &payloads {
        inspect(&mut contents, payload, |nal| sets.update(nal));
    }
    let _ = sets.video_parameters();

    let nals = nals_of_payloads(&payloads);
    if let Ok(nals) = &nals {
        let given: usize = payloads.iter().map(Bytes::len).sum();
        assert!(nals.iter().all(|nal| nal.len() >= 2));
        assert!(nals.iter().map(Bytes::len).sum::<usize>() <= given);
    }
    if let Ok(fitted) = refit_h265(payloads) {
        assert_fit(&fitted);
        // Units within an aggregation packet that are of a packet's type cannot be told from one.
        if let Ok(nals) = nals
            && nals.iter().all(|nal| nal_type(nal) < AP)
        {
            assert_eq!(nals_of_payloads(&fitted).as_ref(), Ok(&nals));
        }
    }

    // As a camera's SDP brings them, and ffmpeg's extradata.
    let sps = Some(data.to_vec().into());
    let _ = ParameterSets { sps, ..Default::default() }.video_parameters();
    let _ = ParameterSets::of_hvcc(data).video_parameters();
});
