//! The few words of our command line, taken one by one.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Arguments that nobody has asked for yet.
#[derive(Debug)]
pub struct Args(Vec<String>);

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Args {
    /// Takes the arguments without the program's name.
    pub fn new(args: impl IntoIterator<Item = String>) -> Self {
        Self(args.into_iter().collect())
    }

    /// Whether `name` is there; takes it.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|arg| arg != name);
        self.0.len() != before
    }

    /// The value of `name value` or `name=value`; takes both.
    ///
    /// # Errors
    /// When the name stands last, without a value.
    pub fn value(&mut self, name: &str) -> Result<Option<String>> {
        if let Some(at) = self.0.iter().position(|arg| arg == name) {
            if at + 1 == self.0.len() {
                bail!("{name} needs a value");
            }
            self.0.remove(at);
            return Ok(Some(self.0.remove(at)));
        }
        let prefix = format!("{name}=");
        let at = self.0.iter().position(|arg| arg.starts_with(&prefix));
        Ok(at.map(|at| self.0.remove(at)[prefix.len()..].to_owned()))
    }

    /// The value of `name`, as a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number<T>(&mut self, name: &str) -> Result<Option<T>>
    where
        T: FromStr,
        Result<T, T::Err>: Context<T, T::Err>,
    {
        let Some(text) = self.value(name)? else { return Ok(None) };
        text.parse().with_context(|| format!("{name} {text}: not a number")).map(Some)
    }

    /// The next argument that is not an option. Ask for options with values first.
    pub fn positional(&mut self) -> Option<String> {
        let at = self.0.iter().position(|arg| !arg.starts_with('-'))?;
        Some(self.0.remove(at))
    }

    /// Every argument has been asked for.
    ///
    /// # Errors
    /// Names the first that has not.
    pub fn finish(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(arg) => bail!("`{arg}` means nothing here; `cargo xtask --help` lists what does"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_and_words_are_taken_in_any_order() {
        let mut args = args("demo --addr 127.0.0.1:4000 --release --x=y");
        assert_eq!(args.positional().as_deref(), Some("demo"));
        assert!(args.flag("--release"));
        assert!(!args.flag("--release"));
        assert_eq!(args.value("--addr").unwrap().as_deref(), Some("127.0.0.1:4000"));
        assert_eq!(args.value("--x").unwrap().as_deref(), Some("y"));
        assert_eq!(args.value("--x").unwrap(), None);
        args.finish().unwrap();
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(args("--addr").value("--addr").is_err());
        assert!(args("--secs soon").number::<u64>("--secs").is_err());
        assert_eq!(args("--secs 5").number("--secs").unwrap(), Some(5_u64));
        assert!(args("--relaese").finish().unwrap_err().to_string().contains("--relaese"));
    }
}
