//! Names that people give: of an asset, a label, a folder. Must not: reserve one for itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text is not such a name; says what one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseNameError(&'static str);

/// A text with rules of its own, checked wherever it comes from.
macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $rule:literal, $clean:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let clean: fn(&str) -> Option<&str> = $clean;
                clean(text).map(|text| Self(text.to_owned())).ok_or(ParseNameError($rule))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// A word or a few that an asset is found by: 1 to 64 characters, without space around it.
    Label,
    "a label is 1 to 64 characters without control characters",
    |text| {
        let text = text.trim();
        (is_line(text) && text.chars().count() <= 64).then_some(text)
    }
}

checked_text! {
    /// A folder of the library, `2026/harbour`: at most 1024 bytes, no slash at either end; the top is
    /// empty. Slashes around it are dropped when it is read.
    FolderPath,
    "a folder is names with slashes between, none of them empty, `.` or `..`, 1024 bytes at most",
    |text| {
        let path = text.trim_matches('/');
        let is_good = |name: &str| is_line(name) && name.trim() == name && !matches!(name, "." | "..");
        let is_folder = path.is_empty() || (path.len() <= 1024 && path.split('/').all(is_good));
        is_folder.then_some(path)
    }
}

impl FolderPath {
    /// Whether it is the one that all others lie in.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that it lies in; the top's is the top.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned())
    }
}

checked_text! {
    /// File name of an asset: 1 to 255 bytes, no slash.
    AssetName,
    "a name is 1 to 255 bytes without slashes and control characters",
    |text| {
        let text = text.trim();
        (is_line(text) && text.len() <= 255 && !text.contains('/')).then_some(text)
    }
}

checked_text! {
    /// What a collection or a saved filter is called: 1 to 100 characters.
    Title,
    "a title is 1 to 100 characters without control characters",
    |text| {
        let text = text.trim();
        (is_line(text) && text.chars().count() <= 100).then_some(text)
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_folder_has_one_spelling() {
        let folder = |text: &str| text.parse::<FolderPath>().map(String::from).ok();
        assert_eq!(folder("/2026/may/"), Some("2026/may".into()));
        assert_eq!(folder("//"), Some(String::new()));
        for bad in ["a//b", "a/../b", ".", "a/ b", "a\nb", &"x".repeat(1025)] {
            assert_eq!(folder(bad), None, "{bad:?}");
        }
        for (path, parent) in [("2026/may/3", "2026/may"), ("2026", ""), ("", "")] {
            assert_eq!(path.parse::<FolderPath>().unwrap().parent().as_str(), parent);
        }
    }

    #[test]
    fn a_label_is_short_and_one_line() {
        assert_eq!(" Harbour tour ".parse::<Label>().unwrap().as_str(), "Harbour tour");
        for bad in ["", "  ", "a\tb", &"ä".repeat(65)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
        assert!("a/b.jpg".parse::<AssetName>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_its_own_spelling(text in "\\PC{0,80}") {
            if let Ok(folder) = text.parse::<FolderPath>() {
                prop_assert_eq!(folder.as_str().parse(), Ok(folder.clone()));
            }
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.as_str().parse(), Ok(label.clone()));
            }
        }
    }
}
