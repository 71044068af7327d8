//! The worker process alone, for the tests of this crate. The server has it as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The word `worker`, which names the subcommand in the server.
    catalog::worker::main(std::env::args_os().skip(2))
}
