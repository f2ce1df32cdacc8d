//! The files of the repository, and the parts of a Rust file.
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    bytes: Vec<u8>,
}

impl File {
    /// The contents as text; empty for a binary file.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// Whether the bytes contain the text; binary files included.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_path_buf()
}

/// Every file that belongs to the repository: also what is not committed yet, but nothing that was built.
pub(crate) fn files() -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|file| file.path == "Cargo.toml"), "the tree was not found at {}", root().display());
    found
}

fn walk(dir: &Path, found: &mut Vec<File>) {
    for entry in std::fs::read_dir(dir).expect("a directory of the repository").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // Asked of the entry itself: a symbolic link is not followed, so there are no loops.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if name != "target" && name != ".git" {
                walk(&path, found);
            }
        } else if let (Ok(bytes), Ok(relative)) = (std::fs::read(&path), path.strip_prefix(root())) {
            // A file may vanish between the two calls while someone works in the tree.
            found.push(File { path: relative.to_string_lossy().into_owned(), bytes });
        }
    }
}

/// Hosts that this machine fetches packages from and the public does not know.
pub(crate) fn private_package_hosts() -> Vec<String> {
    let mut hosts = Vec::new();
    let lists = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    for list in lists.chain([PathBuf::from("/etc/apt/sources.list")]) {
        let text = std::fs::read_to_string(list).unwrap_or_default();
        let urls = text.split_whitespace().filter_map(|word| word.split_once("://").map(|(_, rest)| rest));
        hosts.extend(urls.filter_map(|rest| rest.split(['/', ':']).next()).map(String::from));
    }
    hosts.retain(|host| host.contains('.') && !["debian.org", "ubuntu.com"].iter().any(|known| host.ends_with(known)));
    hosts
}

/// The lines without comments and without the contents of string literals; as many as the text has.
pub(crate) fn lines_of_code(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(|line| {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
    })
}

/// The texts of the line comments.
pub(crate) fn lines_of_comment(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment))
}

/// Runs of letters, digits and underscores.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn words_and_code_are_told_from_comments_and_strings() {
    let line = "let x = \"uns afe\"; // SAFETY: checked (W6)";
    assert_eq!(lines_of_code(line).collect::<String>(), "let x = \"\"; ");
    assert_eq!(lines_of_comment(line).flat_map(words).collect::<Vec<_>>(), ["SAFETY", "checked", "W6"]);
    assert_eq!(words("a_b(c)-D1").collect::<Vec<_>>(), ["a_b", "c", "D1"]);
}
