//! A configuration file as a stream of YAML documents, told apart by apiVersion and kind.
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sheave_kube_source::documents;

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
    /// The documents of a stream that are not empty, one after the other: who finds one too many reads no further.
    pub(super) fn of(text: &str) -> impl Iterator<Item = Result<Self, BadDocument>> {
        documents(text).filter_map(|(line, text)| Self::at(line, text).transpose())
    }

    fn at(line: u64, text: &str) -> Result<Option<Self>, BadDocument> {
        // Before anything is copied: a file may have many empty ones.
        if let Ok(None) = read::<Option<Head>>(text) {
            return Ok(None);
        }
        // Blank lines stand for what comes before.
        let before = usize::try_from(line - 1).unwrap_or(usize::MAX);
        let text = format!("{}{text}", "\n".repeat(before));
        let Some(head) = read::<Option<Head>>(&text)? else { return Ok(None) };
        let words = [head.api_version, head.kind].map(Option::unwrap_or_default);
        let what = words.join(" ").trim().to_owned();
        Ok(Some(Self { what, line, text }))
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, BadDocument> {
        read(&self.text)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, BadDocument> {
    serde_saphyr::from_str(text).map_err(|error| BadDocument(error.to_string()))
}
