//! The two forms of output: for a reader, and for a script.
use anyhow::Context as _;
use clap::ValueEnum;
use std::io::{self, Write};

/// How a command prints its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// For a reader
    #[default]
    Text,
    /// One JSON object on standard output
    Json,
}

/// Prints a result and a newline on standard output. A reader that has seen enough, as in `sheave dump | head`, is no error.
pub(crate) fn print(result: &str) -> anyhow::Result<()> {
    write_to(&mut io::stdout().lock(), result).context("cannot write to standard output")
}

/// Says something on standard error; when nobody listens there, there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _unused = write_to(&mut io::stderr().lock(), text);
}

fn write_to(out: &mut impl Write, text: &str) -> io::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// An error and what caused it, each said once: many of our errors end with the words of their cause already.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Whether this process is root, which everything that touches the kernel needs.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The command line of this process with `sudo` in front, as a user can paste it.
pub(crate) fn with_sudo() -> String {
    let mut words = vec!["sudo".to_owned()];
    let program = std::env::current_exe().map_or_else(|_| "sheave".to_owned(), |path| path.display().to_string());
    words.push(quoted(program));
    // A word that is no UTF-8 is shown with a sign in place of each byte that is none.
    words.extend(std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned())));
    words.join(" ")
}

fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_an_error_has_named_is_not_said_again() {
        let cause = || io::Error::other("no space");
        let named = anyhow::Error::new(cause()).context("cannot write x: no space; make room");
        let unnamed = anyhow::Error::new(cause()).context("cannot write x");
        for (error, want) in [
            (named, "cannot write x: no space; make room"),
            (unnamed, "cannot write x: no space"),
            (cause().into(), "no space"),
        ] {
            assert_eq!(told(&error), want);
        }
    }

    #[test]
    fn a_word_is_quoted_when_a_shell_would_split_or_expand_it() {
        for (word, want) in [("a-b/c", "a-b/c"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$x", "'$x'")] {
            assert_eq!(quoted(word.to_owned()), want);
        }
    }
}
