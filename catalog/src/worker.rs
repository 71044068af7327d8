//! The worker process: where user bytes are decoded, under limits it sets itself.
//!
//! `<exe> worker thumb <input> <out_320> <out_640> [<out_poster>]` makes WebP pictures of a picture and
//! writes a [`ThumbReport`] as one line of JSON. `<exe> worker limited <quick|scan|proxy> <program>
//! <args>…` becomes another program under limits.
//!
//! Must not: start a thread or runtime, open anything but its arguments, or go on without limits.

mod jpeg;
mod limits;
mod picture;

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Command, ExitCode},
};

use domain::RenditionKind;
use serde::{Deserialize, Serialize};

pub(crate) use limits::Limits;

/// Exit code of `limited` when the program is not there; the shell's own.
pub(crate) const EXIT_NOT_INSTALLED: u8 = 127;
/// Exit code when the machine is at fault, not the file; that of `timeout` and `env` for themselves.
pub(crate) const EXIT_MACHINE: u8 = 125;
const EXIT_USAGE: u8 = 2;

/// Width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizePx {
    /// Pixels.
    pub width_px: u32,
    /// Pixels.
    pub height_px: u32,
}

/// What `thumb` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase", deny_unknown_fields)]
pub enum ThumbReport {
    /// Every picture that was asked for is written.
    Made {
        /// The picture as displayed.
        original: SizePx,
        /// The written ones, in the order they were asked for.
        sizes: Vec<SizePx>,
        /// ThumbHash, in base64.
        thumbhash: String,
    },
    /// The picture cannot be decoded; trying again would not help.
    Refused {
        /// A sentence.
        reason: String,
    },
}

/// The whole worker process; `args` are those after the word `worker`.
///
/// Call it first thing in `main`, before any thread or runtime exists.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = args.next();
    let args: Vec<OsString> = args.collect();
    match (command.as_deref().and_then(|word| word.to_str()), args.as_slice()) {
        (Some("thumb"), [input, outputs @ ..]) if (2..=3).contains(&outputs.len()) => {
            let kinds = [RenditionKind::Thumb320, RenditionKind::Thumb640, RenditionKind::Poster];
            let outputs: Vec<_> = kinds.into_iter().zip(outputs.iter().map(Path::new)).collect();
            limited(Limits::Quick, || thumb_main(Path::new(input), &outputs))
        }
        (Some("limited"), [limits, program, args @ ..]) => {
            match limits.to_str().and_then(Limits::of_name) {
                Some(limits) => limited(limits, || become_program(program, args)),
                None => usage(),
            }
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: worker thumb INPUT OUT_320 OUT_640 [OUT_POSTER]\n\
         \x20      worker limited quick|scan|proxy PROGRAM ARGS…"
    );
    ExitCode::from(EXIT_USAGE)
}

fn limited(limits: Limits, work: impl FnOnce() -> ExitCode) -> ExitCode {
    match limits.apply() {
        Ok(()) => work(),
        Err(error) => {
            eprintln!("cannot limit the worker: {error}");
            ExitCode::from(EXIT_MACHINE)
        }
    }
}

fn become_program(program: &OsString, args: &[OsString]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    // Returns only if it fails.
    let error = Command::new(program).args(args).exec();
    eprintln!("cannot run {}: {error}", program.display());
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::from(EXIT_NOT_INSTALLED),
        _ => ExitCode::from(EXIT_MACHINE),
    }
}

fn thumb_main(input: &Path, outputs: &[(RenditionKind, &Path)]) -> ExitCode {
    let report = match picture::make_thumbs(input, outputs) {
        Ok(report) => report,
        Err(picture::ThumbError::Refused(reason)) => ThumbReport::Refused { reason },
        Err(picture::ThumbError::Io(error)) => {
            eprintln!("cannot read or write: {error}");
            return ExitCode::from(EXIT_MACHINE);
        }
    };
    match serde_json::to_string(&report) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot report: {error}");
            ExitCode::from(EXIT_MACHINE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_one_line_that_reads_back() {
        let size = SizePx { width_px: 3, height_px: 2 };
        for report in [
            ThumbReport::Made {
                original: size,
                sizes: vec![size, size],
                thumbhash: "1QcSHQRnh493V4dIh4eXh1h4kJUI".into(),
            },
            ThumbReport::Refused { reason: "No.".into() },
        ] {
            let line = serde_json::to_string(&report).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<ThumbReport>(&line).unwrap(), report);
        }
    }
}
