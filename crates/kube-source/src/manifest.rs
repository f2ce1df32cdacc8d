//! From the text of a manifest file to objects of the kinds we read.
use crate::parse::{Parsed, parse};
use serde_json::Value;
use serde_saphyr::localizer::Localizer;
use serde_saphyr::{Location, UserMessageFormatter};
use sheave_core::Kind;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

/// A larger file is a mistake (I7): 100,000 Services with their slices are about 150 MB of YAML.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What a file says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Manifest {
    /// How many documents there are, of whatever kind; empty ones do not count.
    pub(crate) documents: usize,
    /// The objects, in the file's order.
    pub(crate) objects: Vec<Located>,
    /// What could not be read.
    pub(crate) errors: Vec<ManifestError>,
}

/// An object and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    pub(crate) parsed: Parsed,
    pub(crate) place: Place,
}

/// A document, or an object of one, that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ManifestError {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Where something stands in a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Place {
    /// The line its document begins at; 0 = the file as a whole.
    pub(crate) line: u64,
    /// Which item of a list it is, counted from 0: `kubectl get -o yaml` prints one document.
    pub(crate) item: Option<usize>,
}

impl From<u64> for Place {
    fn from(line: u64) -> Self {
        Self { line, item: None }
    }
}

impl fmt::Display for Place {
    /// `LINE`, or `LINE, items[N]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)?;
        self.item.map_or(Ok(()), |item| write!(f, ", items[{item}]"))
    }
}

/// Reads to the end: the text of a manifest.
pub(crate) fn text_of(reader: impl Read) -> io::Result<String> {
    text_within(BYTES_MAX, reader)
}

fn text_within(bytes_max: u64, reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let length = reader.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if length as u64 > bytes_max {
        let message = format!("it has more than the {bytes_max} bytes that a manifest may have; split it");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads YAML or JSON: several documents, and lists of objects. Kinds that we do not read are left out.
pub(crate) fn read(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    for (first_line, document) in documents(text) {
        let (values, error) = values(document);
        manifest.documents +=
            values.iter().filter(|(_, value)| !value.is_null()).count() + usize::from(error.is_some());
        values.iter().for_each(|(line, value)| take(value, first_line + line - 1, &mut manifest));
        let located = |(line, message): At<String>| {
            let place = Place::from(first_line + line - 1);
            ManifestError { place, message: printable(&message) }
        };
        manifest.errors.extend(error.map(located));
    }
    manifest
}

/// What a library says of a text may repeat what stands there: nothing that moves a cursor gets to a terminal.
fn printable(message: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    message.chars().map(shown).collect()
}

/// Splits a stream of YAML at its document markers, each with its first line, so that one bad document does not hide the others.
/// A line that begins with `---` is a marker wherever it stands (YAML 1.2, rule c-forbidden), so this needs no parser.
pub fn documents(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut starts = vec![(1, 0)];
    let mut offset = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && offset > 0 {
            starts.push((number, offset));
        }
        offset += line.len();
    }
    let ends: Vec<_> = starts.iter().skip(1).map(|(_, offset)| *offset).chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|((line, start), end)| (line, &text[start..end]))
}

/// A line within a document, from 1, and what begins or is wrong there.
type At<T> = (u64, T);

/// The values of a document, and what ended the reading.
fn values(document: &str) -> (Vec<At<Value>>, Option<At<String>>) {
    let (values, error) = if document.trim_start().starts_with('{') { json(document) } else { (Vec::new(), None) };
    if !values.is_empty() && error.is_none() {
        return (values, None);
    }
    // YAML's flow style begins as JSON does.
    match yaml(document) {
        Ok(value) => (vec![(1, value)], None),
        Err(_) if !values.is_empty() => (values, error),
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// JSON, which has a faster reader than YAML, of which it is a part. One value may follow the other, as
/// `kubectl get -o json --watch` and `jq` print them.
fn json(document: &str) -> (Vec<At<Value>>, Option<At<String>>) {
    let (mut values, mut line, mut counted) = (Vec::new(), 1, 0);
    let mut stream = serde_json::Deserializer::from_str(document).into_iter();
    loop {
        let rest = &document[stream.byte_offset()..];
        let begin = document.len() - rest.trim_start().len();
        line += document[counted..begin].bytes().filter(|byte| *byte == b'\n').count() as u64;
        counted = begin;
        match stream.next() {
            Some(Ok(value)) => values.push((line, value)),
            Some(Err(error)) => return (values, Some(json_error(&error))),
            None => return (values, None),
        }
    }
}

fn json_error(error: &serde_json::Error) -> At<String> {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    (line as u64, format!("{text} (column {column})"))
}

/// YAML.
fn yaml(document: &str) -> Result<Value, At<String>> {
    // The size of a file is bounded where it is read; aliases, which could blow it up, keep the library's bounds.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    serde_saphyr::from_str_with_options(document, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let formatter = UserMessageFormatter.with_localizer(&ColumnOnly);
        (line.max(1), error.without_snippet().render_with_formatter(&formatter))
    })
}

/// The reader counts lines from the beginning of the document, which is not what a user sees in an editor; the line is said
/// apart.
struct ColumnOnly;

impl Localizer for ColumnOnly {
    fn attach_location<'a>(&self, base: Cow<'a, str>, location: Location) -> Cow<'a, str> {
        match location {
            Location::UNKNOWN => base,
            location => format!("{base} (column {})", location.column()).into(),
        }
    }
}

fn take(document: &Value, line: u64, manifest: &mut Manifest) {
    let kind = document["kind"].as_str().unwrap_or_default();
    match (document, document["items"].as_array(), kind.strip_suffix("List")) {
        (Value::Null, ..) => {}
        (_, Some(items), Some(of_kind)) => {
            let version = document["apiVersion"].as_str().unwrap_or_default();
            for (item, object) in items.iter().enumerate() {
                take_object(object, (version, of_kind), Place { line, item: Some(item) }, manifest);
            }
        }
        _ => take_object(document, ("", ""), line.into(), manifest),
    }
}

/// The items of a `ServiceList` have no kind of their own; those of a `List` have.
fn take_object(object: &Value, (version, kind): (&str, &str), place: Place, manifest: &mut Manifest) {
    let text = |field: &str, inherited| object[field].as_str().unwrap_or(inherited);
    let (version, kind) = (text("apiVersion", version), text("kind", kind));
    if version.is_empty() || kind.is_empty() {
        let message = "not a Kubernetes object: apiVersion or kind is missing".to_owned();
        manifest.errors.push(ManifestError { place, message });
        return;
    }
    let Some(kind) = kind_of(version, kind) else {
        tracing::debug!(version, kind, %place, "kind not read");
        return;
    };
    if version != version_of(kind) {
        let message = format!("{} of {version:?}, of which only {} is read", kind.as_str(), version_of(kind));
        manifest.errors.push(ManifestError { place, message });
        return;
    }
    match parse(kind, object) {
        Ok(parsed) => manifest.objects.push(Located { parsed, place }),
        Err(nameless) => manifest.errors.push(ManifestError { place, message: nameless.to_string() }),
    }
}

/// A kind of ours in whatever version. Others have kinds of the same name: Knative has a Service.
fn kind_of(version: &str, kind: &str) -> Option<Kind> {
    let group = |version: &str| version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    (group(version) == group(version_of(kind))).then_some(kind)
}

/// The version that is read.
fn version_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Node => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::ServiceCidr => "networking.k8s.io/v1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node-a}\n";

    /// Objects as `KIND NAME at LINE`, errors with their line.
    fn read_as(text: &str) -> (Vec<String>, Vec<(u64, String)>) {
        let manifest = read(text);
        let name = |located: &Located| format!("{} at {}", crate::object_ref(&located.parsed.name), located.place);
        let error = |error: &ManifestError| (error.place.line, error.message.clone());
        (manifest.objects.iter().map(name).collect(), manifest.errors.iter().map(error).collect())
    }

    #[test]
    fn documents_lists_and_json_are_read_with_the_line_each_begins_at() {
        let node = |line: u64| vec![format!("Node node-a at {line}")];
        let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}}"#;
        for (name, text, want) in [
            ("one", NODE.to_owned(), node(1)),
            ("after a marker", format!("---\n{NODE}"), node(1)),
            ("after a comment", format!("# hello\n---\n{NODE}---\n"), node(2)),
            ("with a byte order mark", format!("\u{feff}{NODE}"), node(1)),
            ("windows line ends", NODE.replace('\n', "\r\n"), node(1)),
            ("other kinds", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n".to_owned(), vec![]),
            (
                "other groups",
                "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n".to_owned(),
                vec![],
            ),
            ("empty", String::new(), vec![]),
            ("JSON", service.to_owned(), vec!["Service default/a at 1".to_owned()]),
            (
                "v1 List",
                format!("apiVersion: v1\nkind: List\nitems:\n- {service}\n- {service}\n"),
                vec!["Service default/a at 1, items[0]".to_owned(), "Service default/a at 1, items[1]".to_owned()],
            ),
            (
                "one JSON value after the other",
                format!("\n{service}\n\n{service} {service}\n"),
                [2, 4, 4].map(|line| format!("Service default/a at {line}")).to_vec(),
            ),
            (
                "flow style with a comment",
                "{apiVersion: v1, kind: Node, metadata: {name: node-a}} # not JSON\n".to_owned(),
                node(1),
            ),
            ("JSON with a comment", format!("{service} # not JSON\n"), vec!["Service default/a at 1".to_owned()]),
            (
                "NodeList",
                "apiVersion: v1\nkind: NodeList\nitems: [{metadata: {name: node-a}}]\n".to_owned(),
                vec!["Node node-a at 1, items[0]".to_owned()],
            ),
        ] {
            assert_eq!(read_as(&text), (want, vec![]), "case: {name}");
        }
    }

    #[test]
    fn a_bad_document_is_named_by_its_line_and_does_not_hide_the_others() {
        for (name, bad, line, part) in [
            ("not YAML", "spec: [1,\n", 4, "unclosed bracket '[' (column 7)"),
            ("a tab", "a:\n\tb: 1\n", 5, "(column 2)"),
            (
                "the same key twice",
                "apiVersion: v1\nkind: Node\nkind: Node\n",
                6,
                "`kind` is not allowed here (column 1)",
            ),
            ("not an object", "hello\n", 4, "apiVersion or kind is missing"),
            ("no kind", "apiVersion: v1\n", 4, "apiVersion or kind is missing"),
            (
                "a version that is not read",
                "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n",
                4,
                "EndpointSlice of \"discovery.k8s.io/v1beta1\", of which only discovery.k8s.io/v1 is read",
            ),
            ("an item of no kind", "apiVersion: v1\nkind: List\nitems: [null]\n", 4, "apiVersion or kind is missing"),
            ("an escape", "\"\\e[31m\": 1\n\"\\e[31m\": 2\n", 4, "\\u{1b}"),
            ("no name", "apiVersion: v1\nkind: Service\nspec: {}\n", 4, "Service without a usable metadata.name"),
            ("a bad name", "apiVersion: v1\nkind: Service\nmetadata: {name: a/b}\n", 4, "\"a/b\""),
        ] {
            let (objects, errors) = read_as(&format!("{NODE}--- # next\n{bad}---\n{NODE}"));
            assert_eq!(objects.len(), 2, "case: {name}");
            assert_eq!(errors.len(), 1, "case: {name}: {errors:?}");
            assert!(errors[0].0 >= line && errors[0].0 <= line + 3, "case: {name}: {errors:?}");
            assert!(errors[0].1.contains(part), "case: {name}: {errors:?}");
            assert!(!errors[0].1.contains(" line "), "a line of the document is none of the file: {errors:?}");
        }
    }

    #[test]
    fn json_that_is_cut_off_keeps_what_stands_before_the_cut() {
        let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}}"#;
        let (objects, errors) = read_as(&format!("{service}\n{service}\n{}", &service[..40]));
        assert_eq!(objects, ["Service default/a at 1", "Service default/a at 2"]);
        assert_eq!(errors, [(3, "EOF while parsing a value (column 40)".to_owned())]);
    }

    #[test]
    fn i7_a_text_that_is_too_long_or_no_text_is_refused() {
        let read = |bytes: &[u8]| text_within(4, bytes).map_err(|error| error.to_string());
        assert_eq!(read(b"abcd"), Ok("abcd".to_owned()));
        assert_eq!(read(b"abcde"), Err("it has more than the 4 bytes that a manifest may have; split it".to_owned()));
        assert_eq!(read(b"a\xff"), Err("invalid utf-8 sequence of 1 bytes from index 1".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String, yamly in "[-a-z:{}\\[\\] \n&*!|>'\"]{0,80}") {
            read(&text);
            read(&yamly);
            read(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {yamly}\n"));
        }
    }
}
