//! A configuration file as a stream of YAML documents, told apart by apiVersion and kind.
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One document of a file. Its text stands at its own lines, so that whatever is said of it names the line in the file.
pub(super) struct Document {
    /// `apiVersion kind`, as they stand there.
    pub(super) what: String,
    /// The line it begins at.
    pub(super) line: u64,
    text: String,
}

/// The text is no YAML, or a value has another shape than its field.
pub(super) struct BadDocument(pub(super) String);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

impl Document {
    /// The documents of a stream that are not empty.
    pub(super) fn of(text: &str) -> Result<Vec<Self>, BadDocument> {
        let mut documents = Vec::new();
        for (line, text) in split(text) {
            // Blank lines stand for what comes before.
            let text = format!("{}{text}", "\n".repeat(line - 1));
            let Some(head) = read::<Option<Head>>(&text)? else { continue };
            let words = [head.api_version, head.kind].map(Option::unwrap_or_default);
            let what = words.join(" ").trim().to_owned();
            documents.push(Self { what, line: line as u64, text });
        }
        Ok(documents)
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, BadDocument> {
        read(&self.text)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, BadDocument> {
    serde_saphyr::from_str(text).map_err(|error| BadDocument(error.to_string()))
}

/// Each document with its first line. A line that begins with `---` is a marker wherever it stands (YAML 1.2, rule
/// c-forbidden), so this needs no parser.
fn split(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let after = line.strip_prefix("---");
        if after.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            documents.push((number, String::new()));
        }
        let (_, text) = documents.last_mut().expect("invariant: there is a first document");
        text.push_str(line);
    }
    documents
}
