//! A folder read as S3 lists a bucket: keys in the order of their bytes, page by page.
//!
//! Must not: follow a symbolic link, or read folders that lie wholly before the page.

use std::{cmp::Ordering, fs, io, path::Path};

use super::{
    BlobKey, ListPage, ListedObject,
    folder::{TEMP_FOLDER, object_meta},
};

/// An entry of a folder: its name, with a slash at the end if it is a folder.
struct Entry {
    name: String,
    is_folder: bool,
}

/// The first `limit` objects with `prefix` that follow `start_after`. Blocks.
pub(super) fn list(
    root: &Path,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    // Folders still to be read, the next one last; each with its entries yet to be visited, last first.
    let mut stack = vec![(String::new(), entries_last_first(root)?)];
    while let Some((folder, entries)) = stack.last_mut() {
        let Some(entry) = entries.pop() else {
            stack.pop();
            continue;
        };
        let key = format!("{folder}{}", entry.name);
        if key == format!("{TEMP_FOLDER}/") {
            continue;
        }
        if entry.is_folder {
            if may_hold(&key, prefix, start_after) {
                match entries_last_first(&root.join(&key)) {
                    Ok(entries) => stack.push((key, entries)),
                    // Such as `lost+found`: one closed folder must not hide all that follow it.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        unreadable.push(key);
                    }
                    Err(error) => return Err(error),
                }
            }
            continue;
        }
        let follows = start_after.is_none_or(|start| key.as_str() > start);
        if !follows || !key.starts_with(prefix) {
            continue;
        }
        // A name that is no key (a backslash in it, say) could not be asked for either.
        let Ok(key) = key.parse::<BlobKey>() else { continue };
        if objects.len() == limit {
            let next = objects.last().map(|last: &ListedObject| last.key.to_string());
            return Ok(ListPage { objects, unreadable, next });
        }
        match fs::symlink_metadata(root.join(key.as_str())) {
            Ok(meta) => objects.push(ListedObject { key, meta: object_meta(&meta) }),
            // Deleted since its folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The names in a folder may be read, and nothing else.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unreadable.push(folder.clone());
                stack.pop();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ListPage { objects, unreadable, next: None })
}

/// Whether keys below `folder` (which ends in a slash) can be on the page.
fn may_hold(folder: &str, prefix: &str, start_after: Option<&str>) -> bool {
    let in_prefix = folder.starts_with(prefix) || prefix.starts_with(folder);
    let not_passed = start_after.is_none_or(|start| folder > start || start.starts_with(folder));
    in_prefix && not_passed
}

/// A folder's files and folders in falling order of what their keys begin with.
fn entries_last_first(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        // Deleted since the folder above was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        Err(error) => return Err(error),
    };
    for entry in read {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            // With its slash, "a/" sorts after "a.jpg" just as "a/b" does.
            name.push('/');
        } else if !file_type.is_file() {
            continue;
        }
        entries.push(Entry { name, is_folder: file_type.is_dir() });
    }
    entries.sort_unstable_by(|a, b| falling(&a.name, &b.name));
    Ok(entries)
}

fn falling(a: &str, b: &str) -> Ordering {
    b.cmp(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(page: &ListPage) -> Vec<&str> {
        page.objects.iter().map(|object| object.key.as_str()).collect()
    }

    #[test]
    fn listing_is_in_order_of_bytes_and_pages_meet() {
        let root = tempfile::tempdir().unwrap();
        let mut expected = ["a.jpg", "a/b", "a/b.c/d", "a0", "b/c/d/e", "ü"];
        for key in expected {
            let path = root.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        expected.sort_unstable();

        let whole = list(root.path(), "", None, 100).unwrap();
        assert_eq!(keys(&whole), expected);
        assert_eq!(whole.next, None);

        for limit in 1..=expected.len() {
            let mut seen = Vec::new();
            let mut start_after = None;
            loop {
                let page = list(root.path(), "", start_after.as_deref(), limit).unwrap();
                seen.extend(page.objects.iter().map(|object| object.key.to_string()));
                start_after = page.next;
                if start_after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
        assert_eq!(keys(&list(root.path(), "a/b", None, 9).unwrap()), ["a/b", "a/b.c/d"]);
        assert_eq!(keys(&list(root.path(), "a", Some("a/b"), 9).unwrap()), ["a/b.c/d", "a0"]);
    }
}
