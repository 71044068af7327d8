//! The damwall program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before any thread or runtime exists: the worker limits itself and decodes what users sent.
    if args.next().is_some_and(|word| word == "worker") {
        return catalog::worker::main(args);
    }
    server::cli::main()
}
