//! Where the build's files are: beside the program, so that it runs from anywhere with no variable set.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use leptos::config::LeptosOptions;

/// As in the `[[workspace.metadata.leptos]]` of `Cargo.toml`.
const OUTPUT_NAME: &str = "damwall";
/// Folder of hashed files within the site.
const PKG_DIR: &str = "pkg";
/// Names of the hashed files; cargo-leptos writes it beside the program.
const HASH_FILE: &str = "hash.txt";

/// Finds the site of this program.
///
/// # Errors
/// When there is none: the program was built without its pages.
pub fn find() -> anyhow::Result<LeptosOptions> {
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let folder = exe.parent().unwrap_or(Path::new("/"));
    let places =
        [folder.join("site"), folder.join("../site"), folder.join("../share/damwall/site")];
    let site = places.iter().find(|place| place.join(PKG_DIR).is_dir()).with_context(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        format!(
            "the pages' files are not beside the program (looked in {}); build with `cargo xtask build`",
            places.join(", ")
        )
    })?;
    anyhow::ensure!(
        folder.join(HASH_FILE).is_file(),
        "{} is missing beside the program; build with `cargo xtask build`",
        HASH_FILE
    );
    Ok(options(site))
}

/// Leptos's options for a site in this folder.
pub fn options(site: &Path) -> LeptosOptions {
    LeptosOptions::builder()
        .output_name(Arc::from(OUTPUT_NAME))
        .site_root(Arc::from(site.to_string_lossy()))
        .site_pkg_dir(Arc::from(PKG_DIR))
        .hash_files(true)
        .hash_file(Arc::from(HASH_FILE))
        .build()
}

/// Folder of the hashed files.
pub(crate) fn pkg_folder(options: &LeptosOptions) -> PathBuf {
    Path::new(&*options.site_root).join(&*options.site_pkg_dir)
}

/// Names of the plain files at the site's top, such as `favicon.svg`.
pub(crate) fn top_files(options: &LeptosOptions) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(&*options.site_root) else { return Vec::new() };
    let is_plain = |name: &String| !name.ends_with(".br") && !name.ends_with(".gz");
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_plain)
        .collect()
}
