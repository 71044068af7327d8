//! Secrets that are made at the first start and kept in the data folder, readable by their owner only.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;

/// Random bytes kept in a file.
#[derive(Debug)]
pub(crate) struct KeptSecret {
    /// The bytes.
    pub bytes: [u8; 32],
    /// Whether this start made them.
    pub is_new: bool,
}

/// Reads the secret in `path`, making it first if there is none.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub(crate) fn read_or_make(path: &Path) -> anyhow::Result<KeptSecret> {
    let (text, is_new) = match fs::read_to_string(path) {
        Ok(text) => (text, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = hex::encode(rand::random::<[u8; 32]>());
            write_private(path, &text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            (text, true)
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| {
        anyhow::anyhow!(
            "{} does not hold 64 hex digits; remove it to have a new one made",
            path.display()
        )
    })?;
    Ok(KeptSecret { bytes, is_new })
}

/// Written beside and renamed, so that a crash leaves no half secret.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temp = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&temp, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = read_or_make(&path).unwrap();
        let kept = read_or_make(&path).unwrap();
        assert!(made.is_new && !kept.is_new);
        assert_eq!(made.bytes, kept.bytes);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(read_or_make(&path).is_err());
    }
}
