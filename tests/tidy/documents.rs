//! The documents: links that lead somewhere, rules that exist, claims that tests bear out.
use crate::tree::{File, files, root, words};
use sheave_abi::LAYOUT_VERSION;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

const SEMANTICS: &str = "docs/semantics.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// `W6`, `A12`, `I1`: a letter of a group of rules, and a number.
pub(crate) fn is_rule_id(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|letter| "WAEXRLHI".contains(letter))
        && (2..=3).contains(&word.len())
        && !word[1..].starts_with('0')
        && chars.all(|digit| digit.is_ascii_digit())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of each row of each table, without the outer bars.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect())
}

/// The ids that head a row of a table: rules in the one document, invariants in the other.
pub(crate) fn known_ids() -> BTreeSet<String> {
    let texts = [read(SEMANTICS), read(ARCHITECTURE)];
    let heads = texts.iter().flat_map(|text| rows(text)).map(|cells| cells[0].to_owned());
    heads.filter(|id| is_rule_id(id)).collect()
}

/// Rules said to work that no test cites, and invariants without a test: each as one line.
pub(crate) fn unproven() -> Vec<String> {
    let mut unproven = Vec::new();
    for document in [SEMANTICS, ARCHITECTURE] {
        let text = read(document);
        for cells in rows(&text).filter(|cells| is_rule_id(cells[0])) {
            // The comparison with kube-proxy stands between the rule and its status; not every table has one.
            let (id, status, tests) = match cells[..] {
                [id, _rule, status, tests] | [id, _rule, _, status, tests] => (id, status, tests),
                _ => {
                    unproven.push(format!("{document}: {} has {} cells, not 4 or 5", cells[0], cells.len()));
                    continue;
                }
            };
            // An invariant holds from the first day; a rule of behaviour holds unless it says otherwise, if only in the model.
            if document == ARCHITECTURE || status != "not yet" {
                unproven.extend(unproven_by(document, id, tests));
            }
        }
    }
    unproven
}

/// What is wrong with the "tested by" cell of one id: no link, or one to a file that does not cite the id.
fn unproven_by(document: &str, id: &str, tests: &str) -> Vec<String> {
    let dir = Path::new(document).parent().unwrap_or(Path::new(""));
    let cites = |target: &str| {
        let path = root().join(dir).join(target);
        // A test of several files is a directory.
        let files: Vec<_> = match std::fs::read_dir(&path) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => vec![path],
        };
        files
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .any(|text| words(tests_of(&text)).any(|word| names(word, id)))
    };
    if link_targets(tests).next().is_none() {
        return vec![format!("{document}: {id} is tested by nothing")];
    }
    let silent = link_targets(tests).filter(|target| !cites(target));
    silent.map(|target| format!("{document}: {id}: {target} does not cite it")).collect()
}

/// Whether a word is the id, or a name that carries it: `a_flow_to_an_old_port_is_stale_l7`.
fn names(word: &str, id: &str) -> bool {
    word == id || word.split('_').skip(1).any(|part| part == id.to_lowercase())
}

/// The tests of a Rust file: below the attribute in a module that has one, else the whole file.
fn tests_of(text: &str) -> &str {
    text.split_once("#[cfg(test)]").map_or(text, |(_, tests)| tests)
}

/// The targets of the Markdown links in a text.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Documents that code, scripts and messages name but that do not exist.
pub(crate) fn unknown_documents() -> Vec<String> {
    let mut unknown = Vec::new();
    for file in files().iter().filter(|file| !file.path.ends_with(".md")) {
        for named in documents_named(file.text()).filter(|named| !root().join(named).is_file()) {
            unknown.push(format!("{}: {named}", file.path));
        }
    }
    unknown
}

/// Paths of documents in a text: what begins with the folder's name and ends with the suffix.
fn documents_named(text: &str) -> impl Iterator<Item = &str> {
    let path = |c: char| c.is_alphanumeric() || "/_.-".contains(c);
    let runs = text.split(move |c: char| !path(c)).map(|run| run.trim_matches(['.', '/']));
    runs.filter(|run| run.starts_with("docs/") && run.ends_with(".md"))
}

/// Links to files that do not exist, and to headings that no document has.
pub(crate) fn broken_links() -> Vec<String> {
    let documents: Vec<_> = files().into_iter().filter(|file| file.path.ends_with(".md")).collect();
    let mut broken = Vec::new();
    for document in &documents {
        for target in link_targets(document.text()).filter(|target| !target.contains("://")) {
            if !resolves(document, target, &documents) {
                broken.push(format!("{}: {target}", document.path));
            }
        }
    }
    broken
}

/// Pins that documents name, but not where the maps of this version are.
pub(crate) fn unknown_pins() -> Vec<String> {
    let now = format!("v{LAYOUT_VERSION}");
    let named = |text: &str| {
        let versions = text.split("/sheave/v").skip(1);
        let versions =
            versions.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned());
        versions.map(|number| format!("v{number}")).collect::<Vec<_>>()
    };
    let mut unknown = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md") && !file.path.starts_with("docs/decisions/")) {
        // The paths of the admin socket are no pins.
        let text = file.text().replace("://sheave/", "");
        unknown
            .extend(named(&text).into_iter().filter(|version| *version != now).map(|v| format!("{}: {v}", file.path)));
    }
    unknown
}

fn resolves(from: &File, target: &str, documents: &[File]) -> bool {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let dir = Path::new(&from.path).parent().unwrap_or(Path::new(""));
    let path = if path.is_empty() { PathBuf::from(&from.path) } else { normal(&dir.join(path)) };
    if !root().join(&path).exists() {
        return false;
    }
    let document = documents.iter().find(|document| Path::new(&document.path) == path);
    heading.is_empty() || document.is_some_and(|document| anchors(document.text()).any(|anchor| anchor == heading))
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// The anchors of the headings, as GitHub makes them: lower case, spaces to hyphens, no punctuation.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn rule_ids_links_and_anchors_are_recognised() {
    for (word, want) in
        [("W6", true), ("A12", true), ("I10", true), ("E0", false), ("W", false), ("W6x", false), ("Z1", false)]
    {
        assert_eq!(is_rule_id(word), want, "{word}");
    }
    for (word, want) in [("L7", true), ("a_port_is_stale_l7", true), ("l7", false), ("a_l71", false), ("L70", false)] {
        assert_eq!(names(word, "L7"), want, "{word}");
    }
    assert_eq!(link_targets("see [a](b.md) and [c](d.md#e)").collect::<Vec<_>>(), ["b.md", "d.md#e"]);
    assert_eq!(
        documents_named(concat!("see docs", "/a-b.md, not docs/ nor c.md")).collect::<Vec<_>>(),
        [concat!("docs", "/a-b.md")]
    );
    assert_eq!(anchors("## The write protocol (I1)").next().as_deref(), Some("the-write-protocol-i1"));
    assert_eq!(normal(Path::new("docs/../crates/./a.rs")), Path::new("crates/a.rs"));
}
