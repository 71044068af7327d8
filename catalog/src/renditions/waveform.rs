//! The waveform: lowest and highest sample of each slice of a sound.
//!
//! The format is the JSON of BBC audiowaveform, version 2, which peaks.js and wavesurfer.js read:
//! `{"version":2,"channels":1,"sample_rate":8000,"samples_per_pixel":N,"bits":8,"length":L,"data":[min,max,…]}`.
//! Source: <https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md>.
//!
//! Must not: decode. ffmpeg, in a process of its own, hands over plain samples.

use std::{ffi::OsString, path::Path};

use serde::Serialize;

use crate::probe::INPUT_GUARD_ARGS;

/// Samples a second that ffmpeg hands over, of one channel.
pub const SAMPLE_RATE_HZ: u32 = 8000;
/// Slices at most; when there would be more, each two become one.
const MAX_SLICES: usize = 4096;
/// Samples of a slice to begin with.
const FIRST_SAMPLES_PER_SLICE: u64 = 64;

/// Arguments of the ffmpeg that writes samples to its standard output: 16 bit, little endian, mono.
pub fn ffmpeg_args(input: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-nostdin", "-v", "error"].map(OsString::from).into();
    args.extend(INPUT_GUARD_ARGS.iter().map(OsString::from));
    args.extend(["-vn", "-threads", "1", "-i"].map(OsString::from));
    args.push(input.into());
    args.extend(["-map", "0:a:0", "-vn", "-sn", "-dn", "-ac", "1", "-ar"].map(OsString::from));
    args.push(SAMPLE_RATE_HZ.to_string().into());
    args.extend(["-f", "s16le", "-c:a", "pcm_s16le", "pipe:1"].map(OsString::from));
    args
}

/// Gathers peaks from samples as they come; takes bounded memory however long the sound is.
#[derive(Debug)]
pub struct Peaks {
    samples_per_slice: u64,
    slices: Vec<(i16, i16)>,
    current: Option<(i16, i16)>,
    in_current: u64,
    /// First byte of a sample that was cut in two.
    odd_byte: Option<u8>,
    samples: u64,
}

impl Default for Peaks {
    fn default() -> Self {
        Self {
            samples_per_slice: FIRST_SAMPLES_PER_SLICE,
            slices: Vec::new(),
            current: None,
            in_current: 0,
            odd_byte: None,
            samples: 0,
        }
    }
}

#[derive(Serialize)]
struct File {
    version: u8,
    channels: u8,
    sample_rate: u32,
    samples_per_pixel: u64,
    bits: u8,
    length: usize,
    data: Vec<i8>,
}

impl Peaks {
    /// Takes samples of 16 bits, little endian, cut anywhere.
    pub fn push_bytes(&mut self, mut bytes: &[u8]) {
        if let Some(low) = self.odd_byte.take() {
            let Some((&high, rest)) = bytes.split_first() else {
                self.odd_byte = Some(low);
                return;
            };
            self.push(i16::from_le_bytes([low, high]));
            bytes = rest;
        }
        let (pairs, rest) = bytes.as_chunks::<2>();
        for &pair in pairs {
            self.push(i16::from_le_bytes(pair));
        }
        self.odd_byte = rest.first().copied();
    }

    /// Samples taken.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    fn push(&mut self, sample: i16) {
        self.samples += 1;
        let (low, high) = self.current.unwrap_or((sample, sample));
        self.current = Some((low.min(sample), high.max(sample)));
        self.in_current += 1;
        if self.in_current == self.samples_per_slice {
            self.end_slice();
        }
    }

    fn end_slice(&mut self) {
        if let Some(slice) = self.current.take() {
            self.slices.push(slice);
        }
        self.in_current = 0;
        if self.slices.len() == MAX_SLICES {
            let halves = self.slices.chunks(2);
            self.slices = halves
                .map(|pair| {
                    let low = pair.iter().map(|slice| slice.0).min().unwrap_or(0);
                    let high = pair.iter().map(|slice| slice.1).max().unwrap_or(0);
                    (low, high)
                })
                .collect();
            self.samples_per_slice *= 2;
        }
    }

    /// The JSON, or `None` when there was no sample.
    pub fn into_json(mut self) -> Option<String> {
        if let Some(slice) = self.current.take() {
            self.slices.push(slice);
        }
        if self.slices.is_empty() {
            return None;
        }
        let eight_bits = |sample: i16| i8::try_from(sample >> 8).unwrap_or(0);
        let file = File {
            version: 2,
            channels: 1,
            sample_rate: SAMPLE_RATE_HZ,
            samples_per_pixel: self.samples_per_slice,
            bits: 8,
            length: self.slices.len(),
            data: self
                .slices
                .iter()
                .flat_map(|&(low, high)| [eight_bits(low), eight_bits(high)])
                .collect(),
        };
        serde_json::to_string(&file).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(samples: &[i16]) -> serde_json::Value {
        let mut peaks = Peaks::default();
        peaks.push_bytes(&samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>());
        serde_json::from_str(&peaks.into_json().unwrap()).unwrap()
    }

    #[test]
    fn waveform_has_the_extremes_of_each_slice() {
        let mut samples = vec![0i16; 64];
        (samples[3], samples[9]) = (i16::MIN, i16::MAX);
        samples.push(256);
        assert_eq!(
            json(&samples),
            serde_json::json!({
                "version": 2, "channels": 1, "sample_rate": 8000, "samples_per_pixel": 64,
                "bits": 8, "length": 2, "data": [-128, 127, 1, 1],
            })
        );
    }

    #[test]
    fn waveform_of_an_hour_is_no_longer_than_that_of_a_minute() {
        let mut peaks = Peaks::default();
        let second: Vec<u8> = (0..8000i16).flat_map(|s| (s * 4).to_le_bytes()).collect();
        for _ in 0..3600 {
            peaks.push_bytes(&second);
        }
        assert_eq!(peaks.samples(), 3600 * 8000);
        let json: serde_json::Value = serde_json::from_str(&peaks.into_json().unwrap()).unwrap();
        let (length, per_slice) =
            (json["length"].as_u64().unwrap(), json["samples_per_pixel"].as_u64().unwrap());
        assert!((2048..=4096).contains(&length));
        assert!(length * per_slice >= 3600 * 8000 && (length - 1) * per_slice < 3600 * 8000);
    }

    #[test]
    fn silence_of_no_length_has_no_waveform() {
        assert_eq!(Peaks::default().into_json(), None);
    }

    proptest! {
        #[test]
        fn waveform_does_not_depend_on_where_the_bytes_are_cut(
            samples in proptest::collection::vec(any::<i16>(), 1..500), cuts: Vec<u8>,
        ) {
            let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
            let mut peaks = Peaks::default();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(usize::from(cut).min(rest.len()));
                peaks.push_bytes(head);
                rest = tail;
            }
            peaks.push_bytes(rest);
            let cut: serde_json::Value = serde_json::from_str(&peaks.into_json().unwrap()).unwrap();
            prop_assert_eq!(cut, json(&samples));
        }
    }
}
