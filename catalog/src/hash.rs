//! SHA-256 of files and streams. Must not: know what the bytes are for.

use std::{fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read at a time; hashing one takes well under a millisecond.
const CHUNK_BYTES: usize = 256 * 1024;

/// SHA-256 of a file. Blocks; call it where blocking is allowed.
pub(crate) fn sha256_file(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// SHA-256 and length of `head` followed by the rest of a stream.
pub(crate) async fn sha256_stream(
    head: &[u8],
    rest: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    hasher.update(head);
    let mut len_bytes = head.len() as u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match rest.read(&mut chunk).await? {
            0 => return Ok((hasher.finalize().into(), len_bytes)),
            n => {
                hasher.update(&chunk[..n]);
                len_bytes += n as u64;
            }
        }
    }
}
