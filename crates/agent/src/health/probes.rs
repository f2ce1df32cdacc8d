//! `/healthz` and `/livez` over HTTP (H1, H2).
use super::HealthView;
use crate::http::{Handler, JSON, Reply};
use hyper::StatusCode;
use prometheus::IntCounterVec;
use std::sync::Arc;

/// How often each was answered, by code.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    pub(crate) healthz: IntCounterVec,
    pub(crate) livez: IntCounterVec,
}

/// Answers probes.
pub(crate) fn handler(view: HealthView, probes: Probes) -> Arc<Handler> {
    Arc::new(move |path| match path {
        "/healthz" => answer(&view, true, &probes.healthz),
        "/livez" => answer(&view, false, &probes.livez),
        _ => Reply::not_found(),
    })
}

fn answer(view: &HealthView, of_node: bool, answered: &IntCounterVec) -> Reply {
    let report = view.report();
    let code = if report.passes(of_node) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answered.with_label_values(&[code.as_str()]).inc();
    Reply::new(code, JSON, report.body(of_node))
}
