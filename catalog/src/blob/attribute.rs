//! What an object of a folder was stored with, in an extended attribute of its file: it comes, moves and goes
//! with the file, and no listing shows it.
//!
//! A file that was put there by hand has none, and one on a file system without such attributes (FAT, some
//! network shares) keeps none; both are objects like any other. Must not: fail a write over it there.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{XattrFlags, fsetxattr, lgetxattr},
    io::Errno,
};

use super::ObjectInfo;

/// Name of the attribute; its value is an [`ObjectInfo`] in JSON.
const NAME: &str = "user.damwall";
/// Longest value that is read. S3 takes 2 KiB of metadata.
const MAX_BYTES: usize = 8 * 1024;

/// Notes it on a file that is not an object yet. Whether the file system can.
pub(super) fn note(file: &File, info: &ObjectInfo) -> io::Result<bool> {
    let value = serde_json::to_vec(info).map_err(io::Error::other)?;
    match fsetxattr(file, NAME, &value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What was noted on a file, or `None` when it is not there or nothing that we wrote.
pub(super) fn read(path: &Path) -> io::Result<Option<ObjectInfo>> {
    let mut value = [0; MAX_BYTES];
    match lgetxattr(path, NAME, &mut value) {
        Ok(len) => Ok(parse(&value[..len])),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(value: &[u8]) -> Option<ObjectInfo> {
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_noted_is_read_and_whatever_else_is_there_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path()).unwrap(), None);
        let metadata = [("name".to_owned(), "%C3%BC".repeat(300))].into();
        let info = ObjectInfo { mime: "video/x-test".into(), metadata };
        assert!(note(file.as_file(), &info).unwrap());
        assert_eq!(read(file.path()).unwrap(), Some(info));
        let foreign: [&[u8]; 4] = [b"", b"{", b"{\"mime\":1}", b"[]"];
        for value in foreign {
            fsetxattr(file.as_file(), NAME, value, XattrFlags::empty()).unwrap();
            assert_eq!(read(file.path()).unwrap(), None, "{value:?}");
        }
        assert_eq!(read(&file.path().join("nowhere")).ok(), None);
        assert_eq!(read(&file.path().with_extension("gone")).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_value_is_read_to_its_end(value in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&value);
        }
    }
}
