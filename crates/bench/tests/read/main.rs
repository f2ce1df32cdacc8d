//! What is written is read back, and nothing else is.
#[path = "../report/fixture.rs"]
mod fixture;

use proptest::prelude::*;
use serde_json::{Value, json};
use sheave_bench::record::{BYTES_MAX, Run, RunError, parse, read_all};
use std::path::Path;

fn read(bytes: &[u8]) -> Result<Run, RunError> {
    parse(bytes, Path::new("run.json"))
}

fn written() -> Vec<u8> {
    serde_json::to_vec(&fixture::run()).expect("a run is JSON")
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    assert_eq!(read(&written()).unwrap(), fixture::run());
    assert!(written().len() < 60_000, "whole numbers are written as such: the file is kept in the repository");
}

#[test]
fn a_run_is_saved_whole_and_replaces_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = fixture::run();
    run.save(dir.path()).unwrap();
    run.points.truncate(1);
    run.save(dir.path()).unwrap();
    assert_eq!(read_all(&[dir.path()]).unwrap(), [run]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary stays");
}

#[test]
fn a_directory_of_runs_is_read_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        let mut run = fixture::run();
        run.scenario.name = name.into();
        run.save(&dir.path().join(name)).unwrap();
    }
    let names: Vec<_> = read_all(&[dir.path()]).unwrap().into_iter().map(|run| run.scenario.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn what_is_no_run_is_refused_with_its_field_and_a_next_step() {
    let point = |field: &str| format!("/points/0{field}");
    for (at, value, want) in [
        ("/format".to_owned(), json!(2), "has format 2, and this program reads format 1; use the sheave that wrote it"),
        ("/format".to_owned(), json!("1"), "format: invalid type: string"),
        ("/environment/cpus".to_owned(), json!("two"), "environment.cpus: invalid type"),
        ("/scenario/grid/node_port_percent/0".to_owned(), json!(101), "101 % is no share; give 0 to 100"),
        (point("/dataplane"), json!("cilium"), "points[0].dataplane: unknown variant `cilium`"),
        (point("/shape/services"), json!(0), "points[0].shape.services: 0, but a point has at least one Service"),
        (
            point("/samples/wall/unit"),
            json!("bytes"),
            "points[0].samples.wall.unit: Bytes, but this quantity is in Nanoseconds",
        ),
        (point("/samples/wall/values/1"), json!(-1.0), "points[0].samples.wall.values[1]: -1 is not a finite number"),
        (point("/samples/wall/values/1"), Value::Null, "points[0].samples.wall.values[1]: invalid type: null"),
        (point("/samples/wall/values"), json!([]), "points[0].samples: wall must have values"),
        (
            point("/outcome"),
            json!({"result": "failed", "error": "no"}),
            "points[0].samples: wall must have values if, and only if",
        ),
        (
            "/points/4/outcome".to_owned(),
            json!({"result": "cut-off", "after_s": 0.0, "during": "setup", "reason": ""}),
            "points[4].outcome.after_s",
        ),
    ] {
        let mut run = serde_json::to_value(fixture::run()).unwrap();
        *run.pointer_mut(&at).unwrap_or_else(|| panic!("no {at}")) = value;
        let error = read(&serde_json::to_vec(&run).unwrap()).expect_err(&at).to_string();
        assert!(error.contains(want) && error.starts_with("run.json: "), "{at}: {error}");
    }
}

#[test]
fn a_series_whose_rounds_do_not_add_up_is_refused() {
    let mut run = serde_json::to_value(fixture::run()).unwrap();
    let points = run["points"].as_array_mut().unwrap();
    let point = points.iter_mut().find(|point| point["work"]["bench"] == "connect").unwrap();
    point["samples"]["latency"]["per_round"][0] = json!(1);
    let error = read(&serde_json::to_vec(&run).unwrap()).unwrap_err().to_string();
    assert!(error.contains("samples.latency.per_round: adds up to 601, but there are 720 values"), "{error}");
}

#[test]
fn a_field_that_a_later_version_adds_is_passed_over() {
    let mut run = serde_json::to_value(fixture::run()).unwrap();
    run["environment"]["microcode"] = json!("0x1");
    assert_eq!(read(&serde_json::to_vec(&run).unwrap()).unwrap(), fixture::run());
}

#[test]
fn a_file_that_ends_in_the_middle_is_never_read_as_a_shorter_run() {
    let bytes = written();
    for end in (0..bytes.len()).step_by(37) {
        assert!(matches!(read(&bytes[..end]), Err(RunError::Partial { .. })), "cut at {end}");
    }
}

#[test]
fn paths_without_a_run_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let of = |path: &Path| read_all(&[path]).unwrap_err().to_string();
    assert!(of(dir.path()).contains("there is no run.json in it"), "{}", of(dir.path()));
    assert!(of(&dir.path().join("gone")).contains("gone: cannot be read"));
    let long = dir.path().join("long.json");
    std::fs::File::create(&long).unwrap().set_len(BYTES_MAX + 1).unwrap();
    assert!(of(&long).contains("is longer than"));
}

proptest! {
    #[test]
    fn any_bytes_give_a_run_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_run_with_bytes_changed_gives_a_report_or_an_error(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = written();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(run) = read(&bytes) {
            let report = sheave_bench::report::Report::of(&[run]);
            prop_assert!(report.terminal().lines().all(|line| line.chars().count() < 400));
            prop_assert!(!report.charts().iter().any(|(_, chart)| chart.contains("NaN") || chart.contains("inf")));
        }
    }
}
