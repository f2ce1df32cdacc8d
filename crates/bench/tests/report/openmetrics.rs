//! The text is OpenMetrics 1.0 (its ABNF, and the rules about families and units), read by a reader that knows nothing of the writer.
use super::small;
use std::collections::BTreeSet;

/// A name and its value; a sample's labels.
type Label = (String, String);

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `name{a="b",…} value`.
fn sample(line: &str) -> Option<(String, Vec<Label>, f64)> {
    let (name, rest) = line.split_once('{')?;
    let mut labels = Vec::new();
    let mut rest = rest;
    loop {
        let (label, value) = rest.split_once("=\"")?;
        let end = closing_quote(value)?;
        labels.push((label.to_owned(), value[..end].to_owned()));
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ")?.parse().ok()?;
    Some((name.to_owned(), labels, value))
}

/// The first quote that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

#[test]
fn every_line_belongs_to_its_family_and_no_series_stands_twice() {
    let text = small().openmetrics();
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let (mut family, mut families, mut series) = (String::new(), BTreeSet::new(), BTreeSet::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(kind, "gauge");
            assert!(is_name(name) && families.insert(name.to_owned()), "{name} stands in one place only");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("a unit");
            assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.starts_with(&format!("{family} ")), "{line}");
        } else {
            let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
            assert_eq!(name, family);
            assert!(labels.iter().all(|(label, _)| is_name(label)) && value.is_finite(), "{line}");
            assert!(series.insert((name, labels)), "twice: {line}");
        }
    }
    assert!(families.contains("sheave_bench_wall_seconds") && series.len() > 100);
}
