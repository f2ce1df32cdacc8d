//! Figures and charts of the documents are those of the raw data that is committed beside them.
//! `UPDATE_EXPECT=1 cargo test -p sheave-bench --test documents` writes them anew.
#[path = "../report/fixture.rs"]
mod fixture;

use expect_test::expect_file;
use sheave_bench::report::{FillError, Report, report};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every run of one machine.
const RESULTS: &str = "benches/results/linux-6.18-2-cores";
/// Documents with blocks in them.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/benchmarks.md", "docs/performance.md"];
/// Where their charts are.
const CHARTS: &str = "docs/charts";
/// The raw data comes with every clone.
const RESULTS_BYTES_MAX: u64 = 1_200_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn results() -> Report {
    report(&[root().join(RESULTS)]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_block_of_the_documents_is_what_the_raw_data_says() {
    let report = results();
    let mut charts = BTreeSet::new();
    for document in DOCUMENTS {
        let path = root().join(document);
        let filled = report.fill(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{document}: {e}"));
        expect_file![&path].assert_eq(&filled.text);
        for (chart, svg) in filled.charts {
            let file = path.parent().unwrap().join(chart);
            expect_file![&file].assert_eq(&svg);
            charts.insert(file.file_name().unwrap().to_owned());
        }
    }
    let committed = fs::read_dir(root().join(CHARTS)).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(committed.collect::<BTreeSet<_>>(), charts, "charts that no document shows");
}

#[test]
fn the_raw_data_is_small_and_whole() {
    let mut bytes = 0;
    for entry in fs::read_dir(root().join(RESULTS)).unwrap() {
        bytes += fs::metadata(entry.unwrap().path().join("run.json")).unwrap().len();
    }
    assert!(bytes < RESULTS_BYTES_MAX, "{bytes} bytes");
}

fn small() -> Report {
    Report::of(&[fixture::run()])
}

#[test]
fn a_filled_document_keeps_its_own_words_and_is_filled_again_the_same() {
    let given = "before\n<!-- sheave report: sentence -->\nold\n<!-- /sheave report -->\nbetween\n\
        <!-- sheave report: chart charts/sync-endpoint-changed-wall-10-backends.svg -->\n<!-- /sheave report -->\nafter\n";
    let filled = small().fill(given).unwrap();
    for kept in
        ["before\n<!-- sheave report: sentence -->\n\nOn this kernel at 10,000 Services", "\nbetween\n", "\nafter\n"]
    {
        assert!(filled.text.contains(kept), "{kept}: {}", filled.text);
    }
    assert!(!filled.text.contains("old"));
    assert!(filled.text.contains("](charts/sync-endpoint-changed-wall-10-backends.svg)"), "{}", filled.text);
    assert_eq!(filled.charts.len(), 1);
    assert_eq!(small().fill(&filled.text).unwrap(), filled);
}

#[test]
fn every_kind_of_block_can_be_filled() {
    for asked in ["sentence", "conditions", "losses", "absent", "table sync-endpoint-changed-cpu-10-backends"] {
        let filled = small().fill(&format!("<!-- sheave report: {asked} -->\n<!-- /sheave report -->")).unwrap();
        assert!(filled.text.lines().count() > 4, "{asked}: {}", filled.text);
    }
}

#[test]
fn a_block_that_cannot_be_filled_says_why_and_what_there_is() {
    let block = |asked: &str| format!("<!-- sheave report: {asked} -->\n<!-- /sheave report -->\n");
    for (given, want) in [
        ("<!-- sheave report: sentence -->\nno end".to_owned(), "has no end; write <!-- /sheave report --> after it"),
        (block("poem"), "there is no block \"poem\"; there are: sentence, conditions"),
        (block("table sync-endpoint-changed-wall-7-backends"), "they have: sync-endpoint-changed-wall-10-backends"),
        (block("chart lookup-hit-random-latency-3-backends.svg"), "these runs do not have it"),
    ] {
        let error = small().fill(&given).unwrap_err().to_string();
        assert!(error.contains(want), "{given}: {error}");
    }
    let mut other = fixture::run();
    other.environment.kernel = "5.10.0".into();
    let error = Report::of(&[fixture::run(), other]).fill("").unwrap_err();
    assert_eq!(error, FillError::Machines { found: 2 });
}
