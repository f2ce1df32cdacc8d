//! The metrics server's paths (H4): `/metrics`, `/healthz`, `/proxyMode`, `/configz`.
use super::Metrics;
use crate::http::{Handler, JSON, Reply, TEXT};
use hyper::StatusCode;
use std::sync::Arc;

/// What `/metrics` is: the text format, version 0.0.4.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers scrapes. `mode` is the dataplane's name, `config` what `/configz` shows.
pub(crate) fn handler(metrics: Arc<Metrics>, mode: &'static str, config: String) -> Arc<Handler> {
    Arc::new(move |path| match path {
        "/metrics" => match metrics.text() {
            Ok(text) => Reply::new(StatusCode::OK, EXPOSITION, text),
            Err(error) => Reply::new(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        "/healthz" => Reply::new(StatusCode::OK, TEXT, "ok"),
        "/proxyMode" => Reply::new(StatusCode::OK, TEXT, mode),
        "/configz" => Reply::new(StatusCode::OK, JSON, config.clone()),
        _ => Reply::not_found(),
    })
}
