//! The build's files: beside the program, so that it runs from anywhere with no variable set, and read into
//! memory once, for they are few and asked for by every visitor.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use leptos::config::LeptosOptions;

use crate::{
    cache_policy::{CachePolicy, put_security_headers},
    page_cache::Content,
};

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

/// Differs between builds: names of the pages' files, and the program itself.
pub fn build_name() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let hashes = exe.parent().map(|folder| fs::read(folder.join(HASH_FILE)).unwrap_or_default());
    let exe = fs::metadata(exe).ok();
    let written = exe.as_ref().and_then(|exe| exe.modified().ok());
    format!("{:?} {:?} {:?}", hashes, exe.map(|exe| exe.len()), written)
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

/// Names of a folder's files, without those that are another one compressed.
fn plain_files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_plain = |name: &String| !name.ends_with(".br") && !name.ends_with(".gz");
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_plain)
        .collect()
}

/// The site's files by their path, in memory.
#[derive(Debug)]
pub(crate) struct Files(HashMap<String, Content>);

impl Files {
    /// Reads them all, with what was compressed beside them.
    pub(crate) fn read(options: &LeptosOptions) -> Self {
        let top = Path::new(&*options.site_root);
        let mut files = HashMap::new();
        let mut add = |folder: &Path, path: &str, policy: CachePolicy| {
            for name in plain_files(folder) {
                match read_file(folder, &name, policy) {
                    Ok(content) => drop(files.insert(format!("{path}{name}"), content)),
                    Err(error) => {
                        tracing::warn!(%error, "{name} of the site cannot be read: {error}");
                    }
                }
            }
        };
        add(top, "/", CachePolicy::Static);
        add(&top.join(&*options.site_pkg_dir), &format!("/{PKG_DIR}/"), CachePolicy::Immutable);
        Self(files)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Content> {
        self.0.get(path)
    }
}

fn read_file(folder: &Path, name: &str, policy: CachePolicy) -> io::Result<Content> {
    let mut headers = HeaderMap::new();
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let text = match mime.type_() == mime_guess::mime::TEXT {
        true => format!("{mime}; charset=utf-8"),
        false => mime.to_string(),
    };
    if let Ok(content_type) = HeaderValue::try_from(text) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(header::CACHE_CONTROL, policy.header());
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    put_security_headers(&mut headers);
    let beside =
        |suffix: &str| fs::read(folder.join(format!("{name}.{suffix}"))).ok().map(Bytes::from);
    let body = fs::read(folder.join(name))?.into();
    Ok(Content::precompressed(headers, body, beside("gz"), beside("br")))
}
