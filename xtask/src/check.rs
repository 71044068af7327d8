//! Everything that can be said about the code without running it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::build::cargo;
use crate::paths;
use crate::run::{Stages, capture, run, say};
use crate::setup::{self, Purpose};

/// One thing to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The code is formatted.
    Fmt,
    /// No lint complains about the server's side.
    Clippy,
    /// No lint complains about the browser's side.
    Wasm,
    /// The documentation builds, and its links lead somewhere.
    Doc,
    /// Dependencies: licences, sources, duplicates, known vulnerabilities.
    Deny,
}

impl Check {
    const ALL: [Self; 5] = [Self::Fmt, Self::Clippy, Self::Wasm, Self::Doc, Self::Deny];

    /// Takes the names of checks; none means all.
    ///
    /// # Errors
    /// On a name that is no check.
    pub fn from_args(args: &mut Args) -> Result<Vec<Self>> {
        let mut checks = Vec::new();
        while let Some(name) = args.positional() {
            let Some(check) = Self::ALL.into_iter().find(|check| check.name() == name) else {
                bail!("there is no check `{name}`; choose from fmt, clippy, wasm, doc, deny");
            };
            checks.push(check);
        }
        Ok(if checks.is_empty() { Self::ALL.to_vec() } else { checks })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Wasm => "wasm",
            Self::Doc => "doc",
            Self::Deny => "deny",
        }
    }
}

/// Runs the checks, all of them even when one fails.
///
/// # Errors
/// When a tool cannot be installed or a check fails; names the failed ones.
pub fn check(checks: &[Check]) -> Result<()> {
    if checks != [Check::Fmt] {
        setup::setup(Purpose::Check)?;
    }
    let mut stages = Stages::default();
    for check in checks {
        match check {
            Check::Fmt => {
                stages.run("format", || {
                    run(
                        cargo().args(["fmt", "--all", "--check"]),
                        "`cargo fmt --all` puts it right",
                    )
                });
            }
            Check::Clippy => {
                stages.run("lints, server side", || {
                    run(
                        cargo()
                            .args([
                                "clippy",
                                "--workspace",
                                "--exclude",
                                "frontend",
                                "--all-targets",
                            ])
                            .args(["--", "-D", "warnings"]),
                        "see clippy's messages above",
                    )
                });
            }
            Check::Wasm => {
                stages.run("lints, browser side", || {
                    run(
                        cargo().args(["clippy", "--package", "frontend"]).args([
                            "--target",
                            "wasm32-unknown-unknown",
                            "--",
                            "-D",
                            "warnings",
                        ]),
                        "see clippy's messages above",
                    )
                });
            }
            Check::Doc => {
                stages.run("documentation", || {
                    run(
                        cargo()
                            .args(["doc", "--no-deps", "--workspace", "--exclude", "frontend"])
                            .env("RUSTDOCFLAGS", "-D warnings"),
                        "see rustdoc's messages above",
                    )
                });
            }
            Check::Deny => deny(&mut stages),
        }
    }
    stages.finish()
}

fn deny(stages: &mut Stages) {
    let cargo_deny = || -> Result<Command> {
        let mut command = cargo();
        command.env("PATH", paths::path_with_tools()?).args(["deny", "--workspace"]);
        Ok(command)
    };
    stages.run("dependencies: licences, sources, duplicates", || {
        run(
            cargo_deny()?.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]),
            "deny.toml says what is allowed, and why",
        )
    });
    // The database of advisories is a git repository: it is fetched, or this check is left out.
    let fetched = cargo_deny().and_then(|mut command| capture(command.args(["fetch", "db"])));
    match fetched {
        Ok(_) => {
            stages.run("dependencies: known vulnerabilities", || {
                run(
                    cargo_deny()?.args(["check", "--disable-fetch", "advisories"]),
                    "update the crate, or give a reason in deny.toml",
                )
            });
        }
        Err(_) => say(
            "NOT CHECKED: known vulnerabilities; the advisory database cannot be fetched from here",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Vec<Check>> {
        Check::from_args(&mut Args::new(line.split_whitespace().map(str::to_owned)))
    }

    #[test]
    fn checks_are_chosen_by_name() {
        assert_eq!(check("fmt doc").unwrap(), [Check::Fmt, Check::Doc]);
        assert_eq!(check("").unwrap(), Check::ALL);
        assert!(check("tests").is_err());
    }
}
