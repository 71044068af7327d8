//! Full text: the words of an asset, and finding it by the beginnings of some.
//!
//! Words are split here, so that both databases hold and find the same ones.

use super::{CatalogError, sql::query, write::Write};

/// Longest word that is kept, in characters.
const WORD_MAX_CHARS: usize = 64;
/// Words looked for at once; what comes after in the alphabet is left out.
const TERMS_MAX: usize = 16;
/// Characters of a name that it is sorted by.
const NAME_KEY_CHARS: usize = 100;

/// What a name is sorted by; never empty.
pub(super) fn name_key(name: &str) -> String {
    let key: String = name.to_lowercase().chars().take(NAME_KEY_CHARS).collect();
    if key.is_empty() { " ".to_owned() } else { key }
}

/// Words in lower case, space-separated and each once.
pub(super) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut words: Vec<String> = Vec::new();
    for text in texts {
        for word in split(text) {
            // `dsc0042` is also found by `0042`.
            words.extend(digits_and_letters(&word));
            words.push(word);
        }
    }
    words.sort();
    words.dedup();
    words.join(" ")
}

/// Beginnings of words that are looked for, each once; made of letters and digits alone.
pub(super) fn terms(text: &str) -> Vec<String> {
    let mut terms: Vec<String> = split(text).collect();
    terms.sort();
    terms.dedup();
    terms.truncate(TERMS_MAX);
    terms
}

/// What finds assets that have words beginning with all of these, for SQLite or for PostgreSQL.
pub(super) fn expression(terms: &[String], postgres: bool) -> String {
    // Neither quotes nor operators can be among the letters and digits of a term.
    let terms = terms.iter().map(|term| match postgres {
        true => format!("'{term}':*"),
        false => format!("\"{term}\"*"),
    });
    terms.collect::<Vec<_>>().join(if postgres { " & " } else { " " })
}

fn split(text: &str) -> impl Iterator<Item = String> {
    let lower = text.to_lowercase();
    let words: Vec<String> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_MAX_CHARS).collect())
        .collect();
    words.into_iter()
}

/// The runs of digits and of other characters of a word that has both.
fn digits_and_letters(word: &str) -> Vec<String> {
    let mut runs: Vec<String> = Vec::new();
    let mut was_digit = None;
    for c in word.chars() {
        let is_digit = c.is_ascii_digit();
        match runs.last_mut() {
            Some(run) if was_digit == Some(is_digit) => run.push(c),
            _ => runs.push(c.to_string()),
        }
        was_digit = Some(is_digit);
    }
    if runs.len() > 1 { runs } else { Vec::new() }
}

impl Write {
    /// Writes down anew what an asset is sorted and found by.
    pub(super) async fn index(&mut self, seq: i64) -> Result<(), CatalogError> {
        let (name, folder): (String, String) = query(
            "SELECT a.name, f.path FROM assets a JOIN folders f ON f.id = a.folder_id \
             WHERE a.seq = $1",
        )
        .bind(seq)
        .fetch_one(&mut self.tx)
        .await?;
        let labels: Vec<(String,)> = query("SELECT label FROM asset_labels WHERE seq = $1")
            .bind(seq)
            .fetch_all(&mut self.tx)
            .await?;
        let labels = labels.iter().map(|(label,)| label.as_str());
        let words = words([name.as_str(), folder.as_str()].into_iter().chain(labels));
        query("UPDATE assets SET name_key = $2 WHERE seq = $1 AND name_key <> $2")
            .bind(seq)
            .bind(name_key(&name))
            .execute(&mut self.tx)
            .await?;
        self.index_words(seq, words).await
    }

    /// Writes down an asset's words.
    pub(super) async fn index_words(
        &mut self,
        seq: i64,
        words: String,
    ) -> Result<(), CatalogError> {
        if self.tx.is_postgres() {
            query(
                "INSERT INTO asset_words (seq, words) \
                 VALUES ($1, array_to_tsvector(string_to_array($2, ' '))) \
                 ON CONFLICT (seq) DO UPDATE SET words = excluded.words",
            )
            .bind(seq)
            .bind(words)
            .execute(&mut self.tx)
            .await?;
        } else {
            self.forget_words(seq).await?;
            for statement in [
                "INSERT INTO asset_search (rowid, words) VALUES ($1, $2)",
                "INSERT INTO asset_words (seq, words) VALUES ($1, ' ' || $2) \
                 ON CONFLICT (seq) DO UPDATE SET words = excluded.words",
            ] {
                query(statement).bind(seq).bind(&words).execute(&mut self.tx).await?;
            }
        }
        Ok(())
    }

    /// Forgets an asset's words. PostgreSQL does so with the asset.
    pub(super) async fn forget_words(&mut self, seq: i64) -> Result<(), CatalogError> {
        if !self.tx.is_postgres() {
            query("DELETE FROM asset_search WHERE rowid = $1")
                .bind(seq)
                .execute(&mut self.tx)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_lowered_and_split_where_a_person_would() {
        assert_eq!(words(["IMG_2024-05.JPG", "Trips/Zürich"]), "05 2024 img jpg trips zürich");
        assert_eq!(words(["DSC0042.mov"]), "0042 dsc dsc0042 mov");
        assert_eq!(words(["---"]), "");
    }

    #[test]
    fn what_was_typed_finds_beginnings() {
        let terms = terms("Harb 20 harb");
        assert_eq!(expression(&terms, false), "\"20\"* \"harb\"*");
        assert_eq!(expression(&terms, true), "'20':* & 'harb':*");
        assert!(super::terms(" -'\"* ").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_typed_is_an_operator(text in "\\PC{0,60}") {
            for term in terms(&text) {
                prop_assert!(term.chars().all(char::is_alphanumeric), "{term}");
            }
        }
    }
}
