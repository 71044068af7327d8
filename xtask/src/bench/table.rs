//! Where and when something was measured, and putting its table into the documentation.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::Mode;
use crate::paths;
use crate::run::{capture, say};

/// One line: date, command, build, machine. `build` is of [`built_as`] or [`says`].
///
/// # Errors
/// When the date cannot be had.
pub fn caption(build: &str, command: &str) -> Result<String> {
    let date = capture(Command::new("date").args(["-u", "+%F"]))?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = capture(Command::new("uname").arg("-r")).unwrap_or_default();
    Ok(format!(
        "{}, `cargo xtask {command}`, {build}; {}, Linux {}.",
        date.trim(),
        processors(&cpu),
        kernel.trim()
    ))
}

/// How something was compiled that was compiled here.
#[must_use]
pub fn built_as(mode: Mode) -> &'static str {
    match mode {
        Mode::Dev => "**dev build (unoptimised; not what is shipped)**",
        Mode::Release => "release build",
    }
}

/// How a given program was compiled, by its own word (`damwall --version`).
///
/// # Errors
/// When it does not run.
pub fn says(program: &Path) -> Result<String> {
    Ok(of_version(&capture(Command::new(program).arg("--version"))?))
}

fn of_version(version: &str) -> String {
    let version = version.trim();
    if version.ends_with("(release)") {
        return format!("`{version}`");
    }
    let remark = match version.ends_with("(debug)") {
        true => "unoptimised; not what is shipped",
        false => "does not say how it was built",
    };
    format!("**`{version}` ({remark})**")
}

/// `2 × AMD EPYC` of `/proc/cpuinfo`.
fn processors(cpuinfo: &str) -> String {
    let mut models = cpuinfo.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim())
    });
    match models.next() {
        Some(model) => format!("{} × {model}", models.count() + 1),
        None => "an unknown processor".to_owned(),
    }
}

/// Puts `text` between the comments `<!-- name: begin -->` and `<!-- name: end -->` of
/// docs/benchmarks.md.
///
/// # Errors
/// When the file or its comments are not there.
pub fn write_into_docs(name: &str, text: &str) -> Result<()> {
    let path = paths::root().join("docs/benchmarks.md");
    let shown = path.display();
    let docs = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    let docs = replace_between(&docs, name, text).with_context(|| {
        format!("{shown} has no `<!-- {name}: begin -->` … `<!-- {name}: end -->`")
    })?;
    fs::write(&path, docs).with_context(|| format!("cannot write {shown}"))?;
    say(&format!("written into {shown}"));
    Ok(())
}

fn replace_between(docs: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = docs.split_once(&format!("<!-- {name}: begin -->\n"))?;
    let (_, after) = rest.split_once(&format!("<!-- {name}: end -->"))?;
    let text = text.trim();
    Some(format!("{before}<!-- {name}: begin -->\n\n{text}\n\n<!-- {name}: end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let docs = "# a\n<!-- x: begin -->\nold\n<!-- x: end -->\nmore\n";
        let once = replace_between(docs, "x", "new\n").unwrap();
        assert_eq!(once, "# a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nmore\n");
        assert_eq!(replace_between(&once, "x", "new").unwrap(), once);
        assert_eq!(replace_between(docs, "y", "new"), None);
    }

    #[test]
    fn only_a_release_is_named_without_a_remark() {
        assert_eq!(of_version("damwall 0.1.0 (release)\n"), "`damwall 0.1.0 (release)`");
        assert!(of_version("damwall 0.1.0 (debug)").contains("unoptimised"));
        assert!(of_version("damwall 0.1.0").contains("does not say"));
    }

    #[test]
    fn the_processor_is_named() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(processors(cpuinfo), "2 × AMD EPYC");
        assert_eq!(processors(""), "an unknown processor");
    }
}
