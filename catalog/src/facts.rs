//! What is to be known of a file before it is an asset, from one pass over its bytes.
//!
//! Must not: go back in the bytes, hold more of them than their beginning, or decode anything but EXIF.

use std::{
    io::{ErrorKind, Read, Result},
    ops::ControlFlow,
};

use domain::{AssetId, AssetKind, Metadata};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{exif, sniff};

/// Bytes read at a time; hashing them takes well under a millisecond.
const CHUNK_BYTES: usize = 256 * 1024;

/// A picture, video or sound.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Name by content.
    pub(crate) id: AssetId,
    /// How many bytes were read.
    pub(crate) len_bytes: u64,
    /// MIME type, by the bytes where they tell.
    pub(crate) mime: String,
    /// What a picture says of itself; empty for all else.
    pub(crate) metadata: Metadata,
}

/// Facts about a file of that name; `on_read` hears how many bytes each read gave. Of what is no picture,
/// video or sound only the beginning is read. Blocks.
pub(crate) fn of_file(
    mut from: impl Read,
    name: &str,
    mut on_read: impl FnMut(u64),
) -> Result<Option<Facts>> {
    let (mut look, mut chunk) = (Look::new(name), vec![0; CHUNK_BYTES]);
    loop {
        let len = match from.read(&mut chunk) {
            Ok(0) => return Ok(look.facts()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        on_read(len as u64);
        if look.add(&chunk[..len]).is_break() {
            return Ok(None);
        }
    }
}

/// Facts about a stream under that name, as [`of_file`] finds them.
pub(crate) async fn of_stream(
    mut from: impl AsyncRead + Unpin,
    name: &str,
) -> Result<Option<Facts>> {
    let (mut look, mut chunk) = (Look::new(name), vec![0; CHUNK_BYTES]);
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(look.facts()),
            len if look.add(&chunk[..len]).is_break() => return Ok(None),
            _ => {}
        }
    }
}

/// What the bytes so far have told.
struct Look<'a> {
    name: &'a str,
    hasher: Sha256,
    len_bytes: u64,
    /// The beginning, as long as it is wanted.
    head: Vec<u8>,
    head_max: usize,
    /// Known once enough of the beginning is there.
    mime: Option<String>,
}

impl<'a> Look<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            hasher: Sha256::new(),
            len_bytes: 0,
            head: Vec::new(),
            head_max: exif::HEAD_BYTES,
            mime: None,
        }
    }

    /// Takes in the next bytes; breaks off at what is no media.
    fn add(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        let wanted = bytes.len().min(self.head_max - self.head.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        match self.mime {
            None if self.head.len() >= sniff::HEAD_BYTES => self.sniff(),
            _ => ControlFlow::Continue(()),
        }
    }

    fn sniff(&mut self) -> ControlFlow<()> {
        let head = &self.head[..self.head.len().min(sniff::HEAD_BYTES)];
        let Some(mime) = sniff::media_mime(head, self.name) else { return ControlFlow::Break(()) };
        if AssetKind::of_mime(&mime) != AssetKind::Image {
            (self.head, self.head_max) = (Vec::new(), 0);
        }
        self.mime = Some(mime);
        ControlFlow::Continue(())
    }

    /// After the last byte.
    fn facts(mut self) -> Option<Facts> {
        if self.mime.is_none() && self.sniff().is_break() {
            return None;
        }
        Some(Facts {
            id: AssetId::from_digest(self.hasher.finalize().into()),
            len_bytes: self.len_bytes,
            mime: self.mime?,
            // The beginning is only a picture's by now.
            metadata: exif::metadata(&self.head, &TimeZone::system()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives at most that many bytes at a time.
    struct Sips<'a>(&'a [u8], usize);

    impl Read for Sips<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let len = buffer.len().min(self.1);
            Read::read(&mut self.0, &mut buffer[..len])
        }
    }

    fn long(beginning: &[u8]) -> Vec<u8> {
        let mut bytes = beginning.to_vec();
        bytes.resize(exif::HEAD_BYTES + CHUNK_BYTES + 7, 0x5a);
        bytes
    }

    #[tokio::test]
    async fn a_file_and_a_stream_tell_the_same_however_they_are_cut() {
        let (picture, video) = (b"\xff\xd8\xff\xe0\0\x10JFIF", b"\0\0\0\x20ftypisom\0\0\x02\0");
        for (bytes, mime) in [
            (long(picture), "image/jpeg"),
            (picture.to_vec(), "image/jpeg"),
            (long(video), "video/mp4"),
        ] {
            for step in [1000, sniff::HEAD_BYTES, CHUNK_BYTES] {
                let mut read = 0;
                let facts = of_file(Sips(&bytes, step), "x", |len| read += len).unwrap().unwrap();
                assert_eq!(facts.id, AssetId::from_digest(Sha256::digest(&bytes).into()));
                assert_eq!((facts.len_bytes, read), (bytes.len() as u64, bytes.len() as u64));
                assert_eq!(facts.mime, mime);
                assert!(facts.metadata.is_empty());
            }
            let facts = of_stream(&bytes[..], "x").await.unwrap().unwrap();
            assert_eq!(facts.id, AssetId::from_digest(Sha256::digest(&bytes).into()));
            assert_eq!((facts.len_bytes, facts.mime.as_str()), (bytes.len() as u64, mime));
        }
    }

    #[tokio::test]
    async fn what_is_no_media_is_not_read_to_its_end() {
        let bytes = long(b"just text");
        let mut read = 0;
        let facts = of_file(Sips(&bytes, 1000), "a.jpg", |len| read += len).unwrap();
        assert!(facts.is_none() && read < 10_000, "{read}");
        let mut rest = &bytes[..];
        assert!(of_stream(&mut rest, "a.jpg").await.unwrap().is_none());
        assert!(!rest.is_empty());
        assert!(of_stream(&b""[..], "a.jpg").await.unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_have_facts_or_none(bytes: Vec<u8>, name in "\\PC{0,20}", step in 1usize..40) {
            if let Some(facts) = of_file(Sips(&bytes, step), &name, |_| ()).unwrap() {
                prop_assert_eq!(facts.len_bytes, bytes.len() as u64);
            }
        }
    }
}
