//! From a request to its answer.
use crate::api::{Api, Switches, Write};
use crate::body::Answer;
use crate::discovery;
use crate::encoding::Encoding;
use crate::list::list;
use crate::misbehaviour::Misbehaviour;
use crate::object::Stored;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::resource::{Resource, Target};
use crate::traffic::{self, Verb};
use crate::watch::Watch;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use serde_json::{Map, Value, json};

/// Bodies of requests, as the API server limits them.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as asked")]
pub(crate) struct Closed;

/// Answers a request, or misbehaves as asked.
pub(crate) async fn answer(api: Api, request: Request<Incoming>) -> Result<Response<Answer>, Closed> {
    let switches = api.switches();
    note(&api, &request);
    match switches.misbehaviour {
        Some(Misbehaviour::Close) => Err(Closed),
        Some(Misbehaviour::Stall) => std::future::pending().await,
        Some(Misbehaviour::Garbage) => Ok(whole(&api, 200, "application/json", &b"\x16\x03\x01\xff{\"kind\":]]\n"[..])),
        Some(Misbehaviour::WrongContentType) => Ok(whole(&api, 200, "text/html", "<html>Please log in</html>\n")),
        Some(Misbehaviour::Status(code, retry_after)) => {
            let mut refusal = Refusal::new(code, reason(code), "misbehaving, as asked");
            refusal.retry_after = retry_after;
            Ok(refused(&api, Encoding::Json, &refusal))
        }
        Some(Misbehaviour::CutAfter(bytes)) => {
            Ok(properly(&api, &switches, request).await.map(|body| body.cut_after(bytes)))
        }
        None => Ok(properly(&api, &switches, request).await),
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    }
}

async fn properly(api: &Api, switches: &Switches, request: Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    let encoding = Encoding::asked(request.headers(), switches, "Status").unwrap_or(Encoding::Json);
    if let Err(refusal) = authorise(switches, request.headers()) {
        return refused(api, encoding, &refusal);
    }
    if let Some(document) = discovery::document(&path) {
        return whole(api, 200, "application/json", document.to_string());
    }
    if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return whole(api, 200, "text/plain; charset=utf-8", "ok");
    }
    let Some(target) = Target::of_path(&path) else {
        return whole(api, 404, "text/plain; charset=utf-8", "404 page not found\n");
    };
    if let Some(code) = switches.refused.get(target.resource.kind) {
        return refused(api, encoding, &withheld(target.resource, *code));
    }
    served(api, switches, target, request).await.unwrap_or_else(|refusal| refused(api, encoding, &refusal))
}

fn authorise(switches: &Switches, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &switches.token else { return Ok(()) };
    if text(headers, &AUTHORIZATION) == format!("Bearer {token}") {
        Ok(())
    } else {
        Err(Refusal::new(401, "Unauthorized", "Unauthorized"))
    }
}

fn withheld(resource: &Resource, code: u16) -> Refusal {
    match code {
        404 => Refusal::new(404, "NotFound", "the server could not find the requested resource"),
        _ => Refusal::new(code, "Forbidden", format!("{} is forbidden: as asked", resource.full_name())),
    }
}

async fn served(
    api: &Api,
    switches: &Switches,
    target: Target,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let resource = target.resource;
    let encoding = Encoding::asked(request.headers(), switches, resource.kind)?;
    let key = |name: &str| (target.namespace.clone().unwrap_or_default(), name.to_owned());
    match (request.method().clone(), target.name.as_deref()) {
        (Method::GET, None) => {
            list_or_watch(api, switches, (target, encoding), request.uri().query().unwrap_or_default())
        }
        (Method::GET, Some(name)) => {
            let held = api.store().get(resource, &key(name)).cloned();
            let held = held.ok_or_else(|| Refusal::not_found(resource, name))?;
            Ok(object(api, 200, encoding, resource, &held))
        }
        (Method::POST, None) => {
            let given = named(&target, received(request).await?);
            check(resource, &given)?;
            let stored = api.write(resource, given, Write::Create)?;
            Ok(object(api, 201, encoding, resource, &stored))
        }
        (Method::PUT | Method::PATCH, Some(name)) => {
            let given = replacement(api, &target, name, request).await?;
            check(resource, &given)?;
            let stored = api.write(resource, given, Write::Replace)?;
            Ok(object(api, 200, encoding, resource, &stored))
        }
        (Method::DELETE, Some(name)) => {
            api.remove(resource, &key(name))?;
            let details = json!({"name": name, "kind": resource.plural});
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            Ok(whole(api, 200, encoding.content_type(), encoding.document(("v1", "Status"), &status)))
        }
        (method, _) => {
            Err(Refusal::new(405, "MethodNotAllowed", format!("{method} is not served on {}", request.uri().path())))
        }
    }
}

fn list_or_watch(
    api: &Api,
    switches: &Switches,
    (target, encoding): (Target, Encoding),
    query: &str,
) -> Result<Response<Answer>, Refusal> {
    let query = Query::parse(query)?;
    let current = api.version();
    if query.version.is_some_and(|version| version > current) {
        let version = query.version.unwrap_or_default();
        return Err(Refusal::new(504, "Timeout", format!("Too large resource version: {version}, current: {current}")));
    }
    if !query.watch {
        return Ok(whole(api, 200, encoding.content_type(), list(api, &target, &query, encoding)?));
    }
    if query.send_initial_events.is_some() && (!switches.streaming_lists || query.version_match != "NotOlderThan") {
        let message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled and resourceVersionMatch is NotOlderThan";
        let causes = [("sendInitialEvents".to_owned(), message.to_owned())];
        return Err(Refusal::invalid(target.resource, "", &causes));
    }
    let stream = Watch::start(api.clone(), (target, encoding), query);
    Ok(with_body(200, encoding.stream_type(), Answer::stream(stream, api.shared.bytes_sent.clone())))
}

async fn received(request: Request<Incoming>) -> Result<Value, Refusal> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Refusal::bad_request(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the object provided is unrecognized: {error}")))
}

/// The object of a PUT or a JSON merge patch (RFC 7386).
async fn replacement(api: &Api, target: &Target, name: &str, request: Request<Incoming>) -> Result<Value, Refusal> {
    let resource = target.resource;
    let patch = request.method() == Method::PATCH;
    let kind_of_patch = text(request.headers(), &CONTENT_TYPE);
    if patch && kind_of_patch != "application/merge-patch+json" {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: application/merge-patch+json, not {kind_of_patch}"
        );
        return Err(Refusal::new(415, "UnsupportedMediaType", message));
    }
    let given = received(request).await?;
    let mut object = if patch {
        let key = (target.namespace.clone().unwrap_or_default(), name.to_owned());
        let held = api.store().get(resource, &key).cloned();
        let mut object = held.ok_or_else(|| Refusal::not_found(resource, name))?.document(resource);
        merge(&mut object, given);
        object
    } else {
        named(target, given)
    };
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = name.into();
    }
    if object["metadata"]["name"] == name {
        Ok(object)
    } else {
        Err(Refusal::bad_request("the name of the object does not match the name on the URL"))
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The namespace of the path goes for an object that names none.
fn named(target: &Target, mut object: Value) -> Value {
    if let (Some(namespace), true) = (&target.namespace, object["metadata"]["namespace"].is_null())
        && object.is_object()
    {
        object["metadata"]["namespace"] = namespace.as_str().into();
    }
    object
}

/// The one check of a real server that a service proxy can tell the difference of.
fn check(resource: &Resource, object: &Value) -> Result<(), Refusal> {
    if !object.is_object() {
        return Err(Refusal::bad_request("the object provided is unrecognized"));
    }
    let ports = object["spec"]["ports"].as_array().filter(|_| resource.kind == "Service");
    let mut causes = Vec::new();
    for (index, port) in ports.into_iter().flatten().enumerate() {
        // An unset target port is the port's number, and is found wrong together with it.
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        for (field, number) in [("port", &port["port"]), ("targetPort", target)] {
            let named = field == "targetPort" && number.is_string();
            if !named && !number.as_u64().is_some_and(|number| (1..=65535).contains(&number)) {
                let message = format!("Invalid value: {number}: must be between 1 and 65535, inclusive");
                causes.push((format!("spec.ports[{index}].{field}"), message));
            }
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(resource, name, &causes)) }
}

fn note(api: &Api, request: &Request<Incoming>) {
    let target = Target::of_path(request.uri().path());
    let query = request.uri().query().and_then(|query| Query::parse(query).ok());
    let watch = query.filter(|query| query.watch);
    let verb = match (&target, request.method()) {
        (None, _) => Verb::Other,
        (Some(Target { name: None, .. }), &Method::GET) => match watch {
            Some(query) if query.send_initial_events == Some(true) => Verb::WatchList,
            Some(_) => Verb::Watch,
            None => Verb::List,
        },
        (_, &Method::GET) => Verb::Get,
        (_, &Method::POST) => Verb::Create,
        (_, &Method::DELETE) => Verb::Delete,
        _ => Verb::Update,
    };
    let kind = target.map_or("", |target| target.resource.kind);
    let user_agent = text(request.headers(), &USER_AGENT).to_owned();
    api.traffic().note(traffic::Request { verb, kind, uri: request.uri().to_string(), user_agent });
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn object(api: &Api, code: u16, encoding: Encoding, resource: &Resource, stored: &Stored) -> Response<Answer> {
    let document = encoding.document((&resource.api_version(), resource.kind), &stored.document(resource));
    whole(api, code, encoding.content_type(), document)
}

fn refused(api: &Api, encoding: Encoding, refusal: &Refusal) -> Response<Answer> {
    let mut response = whole(api, refusal.code, encoding.content_type(), encoding.refusal(refusal));
    if let Some(wait) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
    }
    response
}

fn whole(api: &Api, code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    with_body(code, content_type, Answer::whole(body, api.shared.bytes_sent.clone()))
}

fn with_body(code: u16, content_type: &'static str, body: Answer) -> Response<Answer> {
    let response = Response::builder().status(code).header(CONTENT_TYPE, content_type);
    let response = response.header("cache-control", "no-cache, private");
    response.body(body).expect("invariant: status codes and headers are ours")
}
