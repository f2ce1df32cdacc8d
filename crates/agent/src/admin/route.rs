//! Which question a request is.
use crate::status::{ServiceQuestion, When};
use hyper::{Method, StatusCode, Uri};
use sheave_core::ServiceName;
use std::time::Duration;

/// Longer waits are cut to this one; whoever wants to wait longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// For so long flows are looked at, at most: rates of longer times are what metrics are for.
const SECONDS_MAX: u64 = 60;
/// Service ports told one by one, at most (I7).
const TOP_MAX: usize = 1000;
/// And if nobody says how many.
const TOP: usize = 10;

/// A question about the busiest Service ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FlowsQuestion {
    /// How many of them.
    pub(super) top: usize,
    /// For how long to look; for no time at all: at what was counted so far.
    pub(super) time: Duration,
}

impl Default for FlowsQuestion {
    fn default() -> Self {
        Self { top: TOP, time: Duration::ZERO }
    }
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// `GET /v1/status`
    Status,
    /// `GET /v1/services/NAMESPACE/NAME[?wait=SECONDS][&resourceVersion=N]`; how long to wait, if at all.
    Service(ServiceQuestion, Duration),
    /// `GET /v1/flows[?seconds=N][&top=N]`
    Flows(FlowsQuestion),
    /// `POST /v1/explain`
    Explain,
}

/// Nothing is served there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadRoute {
    #[error("nothing is at {0}; there are /v1/status, /v1/flows, /v1/services/NAMESPACE/NAME and /v1/explain")]
    Path(String),
    #[error("{path} takes {takes}")]
    Method { path: &'static str, takes: Method },
    #[error("{parameter:?} is no parameter here; there are {known}")]
    Parameter { parameter: String, known: &'static str },
}

impl BadRoute {
    pub(super) fn code(&self) -> StatusCode {
        match self {
            Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Parameter { .. } => StatusCode::BAD_REQUEST,
        }
    }
}

pub(super) fn route(method: &Method, uri: &Uri) -> Result<Route, BadRoute> {
    let unknown = || BadRoute::Path(uri.path().to_owned());
    let words: Vec<&str> = uri.path().split('/').skip(1).collect();
    match words[..] {
        ["v1", "status"] => takes(method, &Method::GET, "/v1/status", Route::Status),
        ["v1", "flows"] => {
            let route = flows(uri.query().unwrap_or_default())?;
            takes(method, &Method::GET, "/v1/flows", Route::Flows(route))
        }
        ["v1", "explain"] => takes(method, &Method::POST, "/v1/explain", Route::Explain),
        ["v1", "services", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            let route = service(ServiceName::new(namespace, name), uri.query().unwrap_or_default())?;
            takes(method, &Method::GET, "/v1/services", route)
        }
        _ => Err(unknown()),
    }
}

fn takes(method: &Method, takes: &Method, path: &'static str, route: Route) -> Result<Route, BadRoute> {
    if method == takes { Ok(route) } else { Err(BadRoute::Method { path, takes: takes.clone() }) }
}

fn service(service: ServiceName, query: &str) -> Result<Route, BadRoute> {
    let mut question = ServiceQuestion { service, version: 0, when: When::Now };
    let mut wait = Duration::ZERO;
    parameters(query, "wait=SECONDS and resourceVersion=N", |name, number| {
        match name {
            "wait" => {
                question.when = When::Programmed;
                wait = Duration::from_secs(number).min(WAIT_MAX);
            }
            "resourceVersion" => question.version = number,
            _ => return false,
        }
        true
    })?;
    Ok(Route::Service(question, wait))
}

fn flows(query: &str) -> Result<FlowsQuestion, BadRoute> {
    let mut question = FlowsQuestion::default();
    parameters(query, "seconds=N and top=N", |name, number| {
        match name {
            "seconds" => question.time = Duration::from_secs(number.min(SECONDS_MAX)),
            "top" => question.top = usize::try_from(number).unwrap_or(TOP_MAX).min(TOP_MAX),
            _ => return false,
        }
        true
    })?;
    Ok(question)
}

/// Takes each parameter, a name and a number; `take` says whether it knows the name.
fn parameters(query: &str, known: &'static str, mut take: impl FnMut(&str, u64) -> bool) -> Result<(), BadRoute> {
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let pair = parameter.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?)));
        if !pair.is_some_and(|(name, number)| take(name, number)) {
            return Err(BadRoute::Parameter { parameter: parameter.to_owned(), known });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_question_or_is_refused_with_what_there_is() {
        let web = |version, when| ServiceQuestion { service: ServiceName::new("shop", "web"), version, when };
        let seconds = Duration::from_secs;
        let path = |path: &str| Err(BadRoute::Path(path.to_owned()));
        let unknown = |parameter: &str, known| Err(BadRoute::Parameter { parameter: parameter.to_owned(), known });
        let parameter = |parameter| unknown(parameter, "wait=SECONDS and resourceVersion=N");
        let flows = |top, time_s| Ok(Route::Flows(FlowsQuestion { top, time: seconds(time_s) }));
        for (method, uri, want) in [
            (Method::GET, "/v1/status", Ok(Route::Status)),
            (Method::POST, "/v1/explain", Ok(Route::Explain)),
            (Method::GET, "/v1/services/shop/web", Ok(Route::Service(web(0, When::Now), seconds(0)))),
            (
                Method::GET,
                "/v1/services/shop/web?wait=60&resourceVersion=7",
                Ok(Route::Service(web(7, When::Programmed), seconds(60))),
            ),
            (
                Method::GET,
                "/v1/services/shop/web?wait=18446744073709551615",
                Ok(Route::Service(web(0, When::Programmed), WAIT_MAX)),
            ),
            (Method::GET, "/v1/services/shop/web?wait=-1", parameter("wait=-1")),
            (Method::GET, "/v1/services/shop/web?wait", parameter("wait")),
            (Method::GET, "/v1/services/shop/web?x=1", parameter("x=1")),
            (Method::GET, "/v1/flows", flows(10, 0)),
            (Method::GET, "/v1/flows?seconds=2&top=20", flows(20, 2)),
            (Method::GET, "/v1/flows?seconds=3600&top=18446744073709551615", flows(1000, 60)),
            (Method::GET, "/v1/flows?wait=2", unknown("wait=2", "seconds=N and top=N")),
            (Method::POST, "/v1/flows", Err(BadRoute::Method { path: "/v1/flows", takes: Method::GET })),
            (Method::GET, "/v1/services/shop", path("/v1/services/shop")),
            (Method::GET, "/v1/services//web", path("/v1/services//web")),
            (Method::GET, "/v2/status", path("/v2/status")),
            (Method::GET, "/", path("/")),
            (Method::POST, "/v1/status", Err(BadRoute::Method { path: "/v1/status", takes: Method::GET })),
            (Method::GET, "/v1/explain", Err(BadRoute::Method { path: "/v1/explain", takes: Method::POST })),
        ] {
            assert_eq!(route(&method, &uri.parse().unwrap()), want, "{method} {uri}");
        }
    }
}
