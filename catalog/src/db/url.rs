//! Where the catalog is. Must not: open it, or show a password.

use std::{fmt, path::PathBuf, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// The database of a catalog: `postgres://user:password@host/name` or `sqlite:path`.
///
/// What it shows of itself leaves the password out. Source: PostgreSQL 15 §34.1.1.2 for the URL; what
/// it leaves out comes from the `PG…` environment variables and `.pgpass`.
#[derive(Clone)]
pub enum CatalogUrl {
    /// An SQLite file of this machine; one server process at a time.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several server processes may share.
    Postgres(Box<PgConnectOptions>),
}

/// The text names no database that can hold a catalog. Repeats nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected postgres://user:password@host[:port]/database or sqlite:path")]
pub struct ParseCatalogUrlError;

impl FromStr for CatalogUrl {
    type Err = ParseCatalogUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let is_path = !path.is_empty() && !path.contains(['?', '\0']);
            return is_path.then(|| Self::Sqlite(path.into())).ok_or(ParseCatalogUrlError);
        }
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(ParseCatalogUrlError);
        }
        let options: PgConnectOptions = text.parse().map_err(|_| ParseCatalogUrlError)?;
        Ok(Self::Postgres(Box::new(options.application_name("damwall"))))
    }
}

impl TryFrom<String> for CatalogUrl {
    type Error = ParseCatalogUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl<'de> serde::Deserialize<'de> for CatalogUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(options) => {
                let database = options.get_database().unwrap_or(options.get_username());
                match options.get_socket() {
                    Some(socket) => write!(f, "postgres:{database} at {}", socket.display()),
                    None => {
                        let (host, port) = (options.get_host(), options.get_port());
                        write!(f, "postgres://{host}:{port}/{database}")
                    }
                }
            }
        }
    }
}

impl fmt::Debug for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<CatalogUrl>().unwrap().to_string()
    }

    #[test]
    fn a_password_is_never_shown() {
        let text = "postgres://damwall:s3cret@db.example:5433/media?sslmode=require";
        let url: CatalogUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), "postgres://db.example:5433/media");
        assert_eq!(format!("{url:?}"), "CatalogUrl(postgres://db.example:5433/media)");
        let error = "postgres://u:s3cret@h:99999999/x".parse::<CatalogUrl>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }

    #[test]
    fn a_catalog_is_a_file_or_a_postgres_database() {
        assert_eq!(shown("sqlite:data/c.sqlite"), "data/c.sqlite");
        assert_eq!(shown("sqlite:///srv/c.sqlite"), "/srv/c.sqlite");
        assert_eq!(shown("postgresql://%2Frun%2Fpg/media"), "postgres:media at /run/pg");
        for bad in ["", "data/c.sqlite", "sqlite:", "sqlite:a?mode=ro", "mysql://h/x", "postgres:"]
        {
            assert!(bad.parse::<CatalogUrl>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in "(sqlite:|postgres://)?\\PC{0,60}") {
            let _ = text.parse::<CatalogUrl>().map(|url| url.to_string());
        }
    }
}
