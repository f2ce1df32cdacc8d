//! Reports of a small run, byte for byte. `UPDATE_EXPECT=1 cargo test -p sheave-bench` writes what they are now.
mod colours;
mod fixture;
mod openmetrics;

use expect_test::expect_file;
use sheave_bench::record::{ConnectOperation, Dataplane, Phase, Point, Run, SyncOperation, SyncRound, Work};
use sheave_bench::report::{Report, report};
use std::time::Duration;

fn small() -> Report {
    Report::of(&[fixture::run()])
}

#[test]
fn every_form_of_a_report_is_what_it_was() {
    expect_file!["expected/report.md"].assert_eq(&small().markdown());
    // Those for machines have the same of every point, so a few are enough.
    let mut few = fixture::run();
    few.points.retain(|point| point.shape().services >= 1000);
    few.points.truncate(6);
    let few = Report::of(&[few]);
    expect_file!["expected/report.json"].assert_eq(&few.json());
    expect_file!["expected/metrics.txt"].assert_eq(&few.openmetrics());
    expect_file!["expected/perf-dash.json"].assert_eq(&few.perfdash());
    expect_file!["expected/terminal.txt"].assert_eq(&small().terminal());
    let charts = small().charts();
    let (_, chart) = charts.iter().find(|(name, _)| name == "sync-endpoint-changed-wall-10-backends.svg").unwrap();
    expect_file!["expected/chart.svg"].assert_eq(chart);
}

#[test]
fn equal_runs_give_equal_pages() {
    assert_eq!(small().html(), small().html());
}

/// A page's body, which is XML as well: the elements that HTML does not close stand in the head.
fn body(page: &str) -> &str {
    let start = page.find("<body>").expect("a body");
    let end = page.find("</body>").expect("the end of the body");
    &page[start..end + "</body>".len()]
}

#[test]
fn pages_and_charts_are_well_formed() {
    let page = small().html();
    let document = roxmltree::Document::parse(body(&page)).unwrap_or_else(|error| panic!("{error}"));
    let charts = document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    assert!(charts.count() >= 4, "each chart twice: for wide and for narrow windows");
    for (name, chart) in small().charts() {
        roxmltree::Document::parse(&chart).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_page_loads_nothing() {
    let page = small().html().replace("http://www.w3.org/2000/svg", "");
    for text in ["http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!page.contains(text), "{text} in the page");
    }
}

#[test]
fn texts_of_the_machine_cannot_become_markup() {
    let page = small().html();
    assert!(page.contains("Example &lt;CPU&gt; &amp; Sons"));
    assert!(!page.contains("<CPU>"));
    assert!(small().markdown().contains(r"line 7 \| failed"), "a cell does not end where a message has a bar");
}

#[test]
fn what_sheave_loses_comes_before_what_it_wins() {
    let text = small().markdown();
    let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} is missing:\n{text}"));
    assert!(at("## Where a peer is better than sheave") < at("## One endpoint changed"));
    assert!(at("| connect latency-random: latency | nftables |") < at("sync endpoint-changed: kernel memory"));
}

#[test]
fn a_loss_that_few_rounds_cannot_prove_is_shown_and_said_to_be_unsure() {
    let mut run = fixture::run();
    let round = SyncRound { wall: Duration::from_micros(5), ..SyncRound::default() };
    let peer = Dataplane::NftSingleMap;
    run.points.push(Point::sync(SyncOperation::EndpointChanged, peer, fixture::shape(10), &[round; 3]));
    let text = Report::of(&[run]).markdown();
    assert!(text.contains("In 1 more its median is better, with too few rounds to be sure."), "{text}");
    assert!(text.contains("| 5.00 µs | 20.1 µs | 0.25×, too few rounds to be sure |"), "{text}");
}

#[test]
fn the_sentence_names_the_fastest_of_each_family_and_what_was_cut_off() {
    assert_eq!(
        small().sentences(),
        [
            "On this kernel at 10,000 Services one endpoint change costs more than 10 s (iptables-legacy), 4.02 ms (nftables), \
          20.1 µs (sheave)."
        ]
    );
    let mut run = fixture::run();
    let round = SyncRound { wall: Duration::from_millis(7), ..SyncRound::default() };
    let partial = Dataplane::IptablesLegacyPartial;
    run.points.push(Point::sync(SyncOperation::EndpointChanged, partial, fixture::shape(10_000), &[round]));
    let sentence = Report::of(&[run]).sentences().remove(0);
    assert!(sentence.contains("costs 7.00 ms (iptables-legacy-partial), "), "{sentence}");
}

#[test]
fn a_time_limit_bounds_the_cost_of_a_single_operation_and_of_nothing_else() {
    let limit = Duration::from_secs(10);
    let (change, connect) =
        (Work::Sync(SyncOperation::EndpointChanged), Work::Connect(ConnectOperation::LatencyRandom));
    for (work, during, want) in [
        (change, Phase::Operation, "| > 10 s |"),
        (change, Phase::Setup, "| cut off |"),
        (connect, Phase::Round, "| cut off |"),
        (connect, Phase::Setup, "| cut off |"),
    ] {
        let mut run = fixture::run();
        let peer = Dataplane::NftSingleMap;
        run.points.push(Point::cut_off(work, peer, fixture::shape(1000), during, limit, "the limit"));
        let report = Report::of(&[run]);
        let text = report.markdown();
        let row = text.lines().find(|line| line.starts_with("| nft-single-map")).expect("a row");
        assert!(row.contains(want), "{work}, {during:?}: {row}");
        let crosses = report.charts().iter().filter(|(_, chart)| chart.contains("nft-single-map, 1,000")).count();
        assert_eq!(crosses, usize::from(during == Phase::Operation), "{work}, {during:?}");
    }
}

#[test]
fn nothing_for_a_terminal_is_wider_than_80_columns() {
    for line in small().terminal().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn runs_of_one_machine_are_put_together_and_others_stand_apart() {
    let rounds = |runs: &[Run]| {
        let json: serde_json::Value = serde_json::from_str(&Report::of(runs).json()).unwrap();
        let machines = json["machines"].as_array().unwrap().clone();
        let count = |machine: &serde_json::Value| {
            machine["panels"][0]["lines"][0]["figures"][0]["summary"]["count"].as_u64().unwrap()
        };
        machines.iter().map(count).collect::<Vec<_>>()
    };
    let (one, mut other) = (fixture::run(), fixture::run());
    assert_eq!(rounds(&[one.clone(), one.clone()]), [12]);
    other.environment.kernel = "5.10.0".into();
    assert_eq!(rounds(&[one, other]), [6, 6]);
}

#[test]
fn a_run_without_points_and_no_run_at_all_still_give_reports() {
    for runs in [vec![], vec![Run::new(fixture::environment(), fixture::scenario())]] {
        let report = Report::of(&runs);
        roxmltree::Document::parse(body(&report.html())).unwrap();
        assert!(
            report.openmetrics().ends_with("# EOF\n") && report.sentences().is_empty() && report.charts().is_empty()
        );
    }
}

#[test]
fn a_report_from_a_directory_is_the_report_of_its_runs() {
    let dir = tempfile::tempdir().unwrap();
    fixture::run().save(&dir.path().join("monday")).unwrap();
    let read = report(&[dir.path()]).unwrap();
    assert_eq!(read.json(), small().json());
    let page = read.write(&dir.path().join("out")).unwrap();
    assert_eq!(std::fs::read_to_string(page).unwrap(), small().html());
}
