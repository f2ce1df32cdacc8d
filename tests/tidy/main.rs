//! What a machine can see of the style (docs/style.md) and of the documents' truth, checked over the whole tree.
//!
//! Patterns are put together with `concat!`, so that this test does not find itself.
mod documents;
mod tree;

use std::path::Path;
use tree::{File, files, lines_of_code, lines_of_comment, words};

/// Lines of a Rust file without its tests: the point at which a module is split.
const CODE_LINES_MAX: usize = 500;
/// Lines of a Rust file with its tests.
const FILE_LINES_MAX: usize = 700;

/// Names that say nothing: a module is one noun or one verb.
const BANNED_NAMES: &[&str] = &["utils.rs", "util.rs", "types.rs", "helpers.rs", "helper.rs", "common.rs", "misc.rs"];

/// Fails with every finding at once: whoever tidies up wants the whole list.
fn assert_none(what: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{what}:\n  {}\n", findings.join("\n  "));
}

/// `path:line: text` for each line of `file` that `wrong` finds.
fn at_lines<'a>(file: &'a File, wrong: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = String> + 'a {
    let lines = file.text().lines().enumerate().filter(move |(_, line)| wrong(line));
    lines.map(|(index, line)| format!("{}:{}: {}", file.path, index + 1, line.trim()))
}

fn rust_files() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs"))
}

#[test]
fn a_module_is_split_before_it_grows_too_long() {
    let too_long = rust_files().filter_map(|file| {
        let all = file.text().lines().count();
        let code = file.text().lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        (code > CODE_LINES_MAX || all > FILE_LINES_MAX).then(|| {
            format!("{}: {code} lines of code (at most {CODE_LINES_MAX}), {all} in all ({FILE_LINES_MAX})", file.path)
        })
    });
    assert_none("too long; split it along its nouns", too_long);
}

#[test]
fn file_names_say_what_is_inside() {
    let name = |file: &File| Path::new(&file.path).file_name().map(|name| name.to_string_lossy().into_owned());
    let banned =
        files().into_iter().filter(|file| name(file).is_some_and(|name| BANNED_NAMES.contains(&name.as_str())));
    assert_none("names that say nothing", banned.map(|file| file.path));
}

/// Texts that belong to one machine or one workplace. Searched in every file, the committed object included: a build that
/// forgets `--remap-path-prefix` is found here.
fn foreign_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        concat!("/wo", "rk/"),
        concat!("../sha", "red"),
        concat!("/tmp/tar", "get"),
        concat!("/ro", "ot/.cargo"),
        concat!("/ro", "ot/.rustup"),
        concat!("/ho", "me/"),
    ]
    .map(String::from)
    .to_vec();
    texts.extend(tree::root().to_str().filter(|root| root.matches('/').count() > 1).map(String::from));
    texts.extend(tree::private_package_hosts());
    texts
}

#[test]
fn nothing_names_a_machine_or_its_mirrors() {
    let texts = foreign_texts();
    let found = files().into_iter().flat_map(|file| {
        let found = texts.iter().filter(|text| file.contains(text)).map(|text| format!("{}: {text:?}", file.path));
        found.collect::<Vec<_>>()
    });
    assert_none("text of one machine", found);
}

#[test]
fn nothing_is_left_undone() {
    let undone = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let later = concat!("TO", "DO");
    let found = rust_files().flat_map(|file| {
        let wrong = |line: &str| {
            undone.iter().any(|text| line.contains(text))
                // With its issue it may stay: `TODO(#12)`.
                || line.match_indices(later).any(|(at, _)| !line[at + later.len()..].starts_with("(#"))
        };
        at_lines(&file, wrong).collect::<Vec<_>>()
    });
    assert_none("left undone", found);
}

#[test]
fn unsafe_stands_only_where_the_kernel_is_touched_and_says_why_it_is_sound() {
    let allowed = |path: &str| path.starts_with("ebpf/src/sys") || path.starts_with("crates/bpf/");
    let word = concat!("uns", "afe");
    let mut found = Vec::new();
    for file in rust_files() {
        let code: Vec<_> = lines_of_code(file.text()).collect();
        for (index, line) in code.iter().enumerate() {
            // An attribute that is unsafe by its syntax alone, such as the one that names a link section.
            let line = line.replace(concat!("uns", "afe("), "");
            if !words(&line).any(|found| found == word) {
                continue;
            }
            let at = format!("{}:{}: {}", file.path, index + 1, line.trim());
            if !allowed(&file.path) {
                found.push(format!("{at} (not here)"));
            } else if line.contains(&format!("{word} {{")) && !says_why(file.text(), index) {
                found.push(format!("{at} (no SAFETY line above)"));
            }
        }
    }
    assert_none("code the compiler does not check", found);
}

/// Whether a `SAFETY` comment stands on the line, or within the few lines above it.
fn says_why(text: &str, index: usize) -> bool {
    let lines: Vec<_> = text.lines().collect();
    lines[index.saturating_sub(4)..=index].iter().any(|line| line.contains("SAFETY"))
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let manifests = files().into_iter().filter(|file| {
        file.path.ends_with("/Cargo.toml") && !file.path.starts_with("ebpf/") && !file.text().contains("[lints")
    });
    assert_none("without [lints]", manifests.map(|file| file.path));
}

#[test]
fn every_rule_a_comment_cites_stands_in_the_documents() {
    let known = documents::known_ids();
    let found = rust_files().flat_map(|file| {
        let cited: Vec<_> = lines_of_comment(file.text()).flat_map(words).map(String::from).collect();
        let unknown = cited.into_iter().filter(|word| documents::is_rule_id(word) && !known.contains(word));
        unknown.map(|word| format!("{}: {word}", file.path)).collect::<Vec<_>>()
    });
    assert_none("no such rule in docs/semantics.md, no such invariant in ARCHITECTURE.md", found);
}

#[test]
fn a_rule_that_works_names_tests_that_cite_it() {
    assert_none("the documents claim more than the tests show", documents::unproven());
}

#[test]
fn links_and_names_of_documents_lead_somewhere() {
    assert_none("broken links", documents::broken_links());
    assert_none("no such document", documents::unknown_documents());
}

#[test]
fn pins_that_documents_name_are_where_this_version_has_them() {
    assert_none("another layout", documents::unknown_pins());
}
