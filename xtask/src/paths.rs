//! Where things are: the checkout, cargo's target directory, our cache.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    // Cargo tells the running program; the path this was compiled at may be another checkout's.
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's target directory, wherever the environment or a cargo configuration puts it.
///
/// # Errors
/// When cargo cannot read the workspace.
pub fn target() -> Result<PathBuf> {
    let metadata = run::capture(
        Command::new("cargo")
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(root()),
    )
    .context("cargo cannot read the workspace")?;
    let path = target_directory(&metadata).context("`cargo metadata` names no target directory")?;
    Ok(PathBuf::from(path))
}

/// The value of `target_directory` in the JSON of `cargo metadata`.
fn target_directory(metadata: &str) -> Option<String> {
    let (_, rest) = metadata.split_once("\"target_directory\":\"")?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("\\\\", "\\"))
}

/// Tools and sample data that outlive `cargo clean`.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(
            env::var_os("HOME").context("set HOME or XDG_CACHE_HOME: tools are kept there")?,
        )
        .join(".cache"),
    };
    Ok(base.join("damwall"))
}

/// `PATH` with our own tools in front.
///
/// # Errors
/// When there is no cache folder.
pub fn path_with_tools() -> Result<OsString> {
    let cache = cache()?;
    let mut dirs = vec![cache.join("tools/bin"), cache.join("npm-tools/node_modules/.bin")];
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(dirs).context("PATH holds an entry that cannot be passed on")
}

/// Where `program` is found, our own tools first.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = path_with_tools().ok()?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_directory_is_read_from_metadata() {
        let json = r#"{"packages":[],"target_directory":"/tmp/a b","version":1}"#;
        assert_eq!(target_directory(json).as_deref(), Some("/tmp/a b"));
        assert_eq!(target_directory("{}"), None);
    }
}
