//! The names of the two scripts that load the pages' wasm.
//!
//! cargo-leptos names files by their content and then writes into the main script how the loader of the parts
//! is called: a build that differs in its parts alone has another main script of the same name, and browsers
//! keep `/pkg` for ever. So the main script is named by both.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Renames the main script in `pkg`, in the loader that refers to it, and in `hashes`, where the program
/// reads how it is called.
///
/// # Errors
/// When the files are not as cargo-leptos 0.3 leaves them.
pub fn name_main_script(pkg: &Path, hashes: &Path) -> Result<()> {
    let told = fs::read_to_string(hashes)
        .with_context(|| format!("the build made no {}", hashes.display()))?;
    let hash = |key: &str| {
        told.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .with_context(|| format!("{} names no `{key}` file", hashes.display()))
    };
    let (main, split) = (hash("js")?, hash("split")?);
    let (old, new) = (format!("damwall.{main}.js"), format!("damwall.{main}{split}.js"));
    for compressed in ["", ".br", ".gz"] {
        let from = pkg.join(format!("{old}{compressed}"));
        if compressed.is_empty() || from.exists() {
            fs::rename(&from, pkg.join(format!("{new}{compressed}")))
                .with_context(|| format!("cannot rename {}", from.display()))?;
        }
    }
    let loader = pkg.join(format!("__wasm_split.{split}.js"));
    let text = fs::read_to_string(&loader)
        .with_context(|| format!("the build made no {}", loader.display()))?;
    ensure!(text.contains(&old), "{} does not load {old}", loader.display());
    let text = text.replace(&old, &new);
    write(&loader, text.as_bytes())?;
    let beside = |ending: &str| pkg.join(format!("__wasm_split.{split}.js.{ending}"));
    if beside("br").exists() {
        write(&beside("br"), &brotli(text.as_bytes())?)?;
        write(&beside("gz"), &gzip(text.as_bytes())?)?;
    }
    write(hashes, told.replace(&format!("js: {main}"), &format!("js: {main}{split}")).as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn brotli(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut bytes, &mut compressed, &Default::default())?;
    Ok(compressed)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_main_script_is_named_by_what_it_loads_too() {
        let pkg = folder("loader");
        let hashes = pkg.join("hash.txt");
        write(&hashes, b"js: AAA\nwasm: BBB\ncss: CCC\nmanifest: DDD\nsplit: EEE\n").unwrap();
        write(&pkg.join("damwall.AAA.js"), b"import './__wasm_split.EEE.js'").unwrap();
        write(&pkg.join("damwall.AAA.js.br"), b"compressed").unwrap();
        write(&pkg.join("__wasm_split.EEE.js"), b"import './damwall.AAA.js'").unwrap();
        write(&pkg.join("__wasm_split.EEE.js.br"), b"stale").unwrap();
        name_main_script(&pkg, &hashes).unwrap();
        let read = |name: &str| fs::read(pkg.join(name)).unwrap();
        assert_eq!(
            read("hash.txt"),
            b"js: AAAEEE\nwasm: BBB\ncss: CCC\nmanifest: DDD\nsplit: EEE\n"
        );
        assert_eq!(read("damwall.AAAEEE.js"), b"import './__wasm_split.EEE.js'");
        assert_eq!(read("damwall.AAAEEE.js.br"), b"compressed");
        assert!(!pkg.join("damwall.AAA.js").exists());
        let loader = b"import './damwall.AAAEEE.js'";
        assert_eq!(read("__wasm_split.EEE.js"), loader);
        let mut plain = Vec::new();
        brotli::BrotliDecompress(&mut &read("__wasm_split.EEE.js.br")[..], &mut plain).unwrap();
        assert_eq!(plain, loader);
        fs::remove_dir_all(pkg).unwrap();
    }

    #[test]
    fn a_build_without_parts_is_refused() {
        let pkg = folder("no-loader");
        let hashes = pkg.join("hash.txt");
        write(&hashes, b"js: AAA\nwasm: BBB\ncss: CCC\n").unwrap();
        let error = name_main_script(&pkg, &hashes).unwrap_err();
        assert!(error.to_string().contains("names no `split` file"), "{error}");
        fs::remove_dir_all(pkg).unwrap();
    }
}
