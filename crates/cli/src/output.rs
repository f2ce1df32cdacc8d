//! The two forms of output: for a reader, and for a script.
use clap::ValueEnum;

/// How a command prints its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// For a reader
    #[default]
    Text,
    /// One JSON object on standard output
    Json,
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
    words.extend(std::env::args().skip(1).map(quoted));
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
    fn a_word_is_quoted_when_a_shell_would_split_or_expand_it() {
        for (word, want) in [("a-b/c", "a-b/c"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''"), ("$x", "'$x'")] {
            assert_eq!(quoted(word.to_owned()), want);
        }
    }
}
