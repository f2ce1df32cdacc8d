//! A server that sends what no API server should: the rest is served, what is held stays (I4), everything has a limit (I7).
use crate::follower::{Follower, pace};
use crate::replay::{Asked, PROTOBUF, PROTOBUF_STREAM, Replay, Reply};
use crate::watch::service;
use serde_json::{Value, json};
use sheave_core::{Event, Kind};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const END: &str = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;

fn event(of_type: &str, object: &Value) -> String {
    json!({"type": of_type, "object": object}).to_string() + "\n"
}

fn frame(of_type: &str, object: &Value) -> Vec<u8> {
    sheave_apistub::to_protobuf_event(of_type, object).unwrap()
}

/// A streaming list of Services in JSON.
fn listed(objects: &[Value]) -> Reply {
    let events: String = objects.iter().map(|object| event("ADDED", object)).collect();
    Reply::new(200, "application/json", format!("{events}{END}\n")).open()
}

/// The same in protobuf.
fn listed_in_protobuf(objects: &[Value]) -> Reply {
    let bookmark: Value = serde_json::from_str(END).unwrap();
    let mut bookmark = bookmark["object"].clone();
    bookmark["kind"] = "Service".into();
    bookmark["apiVersion"] = "v1".into();
    let mut body: Vec<u8> = objects.iter().flat_map(|object| frame("ADDED", object)).collect();
    body.extend(frame("BOOKMARK", &bookmark));
    Reply::new(200, PROTOBUF_STREAM, body).open()
}

/// A page of Services in JSON.
fn page(objects: &[Value], token: &str) -> Reply {
    Reply::json(&list(objects, token))
}

/// The same in protobuf.
fn page_in_protobuf(objects: &[Value], token: &str) -> Reply {
    Reply::new(200, PROTOBUF, sheave_apistub::to_protobuf(&list(objects, token)).unwrap())
}

fn list(objects: &[Value], token: &str) -> Value {
    let metadata = json!({"resourceVersion": "5", "continue": token});
    json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": metadata, "items": objects})
}

/// A server that does not stream lists.
fn in_pages(asked: &Asked, page: impl FnOnce() -> Reply) -> Reply {
    match (asked.streams(), asked.watches()) {
        (true, _) => Reply::new(400, "application/json", "{}"),
        (false, true) => Reply::new(200, "application/json", "").open(),
        (false, false) => page(),
    }
}

/// Follows a server that answers requests for Services like this, and has nothing else.
async fn follow(services: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Replay, Follower) {
    let reply = move |asked: &Asked| match asked.resource.as_str() {
        "services" => services(asked),
        other => Reply::nothing(other),
    };
    let server = Replay::new(reply).await;
    let follower = Follower::of_url(&server.url).await;
    (server, follower)
}

fn bad(field: &str, value: Value) -> Value {
    let mut object = service("bad", 2);
    *object.pointer_mut(field).unwrap() = value;
    object
}

#[tokio::test]
async fn bad_objects_of_a_list_never_hide_the_good_ones() {
    let nameless = {
        let mut object = service("x", 3);
        object["metadata"].as_object_mut().unwrap().remove("name");
        object
    };
    let huge = {
        let mut object = service("huge", 4);
        object["metadata"]["annotations"] = json!({"a": "x".repeat(10 * 1024 * 1024)});
        object
    };
    let negative = bad("/spec/ports/0/port", json!(-80));
    let objects = [nameless, negative, huge, service("good", 1)];
    type Answer = fn(&Asked, &[Value]) -> Reply;
    for (name, answer) in [
        ("a stream of JSON", (|_, objects| listed(objects)) as Answer),
        ("a stream of protobuf", |_, objects| listed_in_protobuf(objects)),
        ("a page of JSON", |asked, objects| in_pages(asked, || page(objects, ""))),
        ("a page of protobuf", |asked, objects| in_pages(asked, || page_in_protobuf(objects, ""))),
    ] {
        let objects = objects.clone();
        let (_server, mut follower) = follow(move |asked| answer(asked, &objects)).await;
        follower.until(name, Follower::is_complete).await;
        assert_eq!(follower.names(), ["Service shop/bad", "Service shop/good", "Service shop/huge"], "{name}");
        let said = "Service shop/bad: spec.ports[0].port: -80 is no port; use 1 to 65535";
        assert_eq!(follower.diagnostics(), [said], "{name}");
    }
}

#[tokio::test]
async fn bad_events_of_a_watch_never_hide_the_good_ones() {
    let nameless = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "10"}});
    let negative = bad("/spec/ports/0/port", json!(-80));
    for protobuf in [false, true] {
        let events = [("MODIFIED", nameless.clone()), ("ADDED", negative.clone()), ("ADDED", service("new", 5))];
        let (_server, mut follower) = follow(move |asked| match (asked.before, protobuf) {
            (0, _) => Reply::new(200, "application/json", format!("{END}\n")),
            (1, false) => {
                let body: String = events.iter().map(|(of_type, object)| event(of_type, object)).collect();
                Reply::new(200, "application/json", body).open()
            }
            (1, true) => {
                let body: Vec<u8> = events.iter().flat_map(|(of_type, object)| frame(of_type, object)).collect();
                Reply::new(200, PROTOBUF_STREAM, body).open()
            }
            _ => Reply::new(200, "application/json", "").open(),
        })
        .await;
        follower.until("added", |f| f.holds("Service shop/new")).await;
        assert!(follower.holds("Service shop/bad"), "protobuf: {protobuf}");
        assert_eq!(
            follower.listed[&Kind::Service],
            1,
            "protobuf: {protobuf}: nothing was lost, so nothing is listed anew"
        );
    }
}

/// What breaks a watch: the body of its answer, and whether a list has to follow.
fn breaking() -> Vec<(&'static str, Reply, bool)> {
    let good = frame("ADDED", &service("cut", 7));
    let stream = |body: Vec<u8>| Reply::new(200, PROTOBUF_STREAM, body);
    let with_length = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    vec![
        ("a frame that is cut off", stream(good[..good.len() - 5].to_vec()), false),
        ("a length that is cut off", stream(vec![0, 0]), false),
        ("a frame of four gigabytes", stream(vec![0xff; 64]), true),
        ("a frame whose length is too short", stream([&[0, 0, 0, 9], &good[4..]].concat()), true),
        ("a frame whose length is 0", stream(vec![0; 4]), true),
        ("an object without its envelope", stream(with_length(b"\x0a\x05ADDED\x12\x04\x0a\x02xy")), true),
        ("an event of no type that exists", stream(frame("HELLO", &service("x", 7))), true),
        ("HTML for protobuf", stream(b"<html>Please log in</html>".to_vec()), true),
        ("a line without an end", Reply::new(200, "application/json", vec![b' '; 33 * 1024 * 1024]), true),
        ("a deep one", Reply::new(200, "application/json", "[".repeat(100_000) + "\n"), true),
    ]
}

#[tokio::test]
async fn what_breaks_a_watch_loses_nothing() {
    for (name, reply, lists) in breaking() {
        let (_server, mut follower) = follow(move |asked| match asked.before {
            0 => listed(&[service("held", 1)]).closed(),
            1 => reply.clone(),
            _ if asked.streams() => listed(&[service("held", 1), service("new", 2)]),
            _ => Reply::new(200, "application/json", event("ADDED", &service("new", 2))).open(),
        })
        .await;
        follower.until(name, |f| f.holds("Service shop/new")).await;
        assert!(follower.holds("Service shop/held"), "{name}");
        let empty =
            |event: &Event| matches!(event, Event::Listed { kind: Kind::Service, objects, .. } if objects.is_empty());
        let forgotten = |event: &Event| matches!(event, Event::Deleted(_)) || empty(event);
        assert!(!follower.log.iter().any(forgotten), "{name}: {:#?}", follower.log);
        assert_eq!(follower.listed[&Kind::Service], 1 + usize::from(lists), "{name}");
    }
}

#[tokio::test]
async fn a_server_whose_protobuf_is_garbage_or_refused_is_asked_for_json() {
    for (name, reply) in [
        ("garbage", Reply::new(200, PROTOBUF_STREAM, b"\0\0\0\x02ab".to_vec())),
        ("406", Reply::new(406, "application/json", "{}")),
        ("415", Reply::new(415, PROTOBUF, "")),
    ] {
        let (server, mut follower) = follow(move |asked| match asked.accept.as_str() {
            "application/json" => listed(&[service("good", 1)]),
            _ => reply.clone(),
        })
        .await;
        follower.until("listed", |f| f.holds("Service shop/good")).await;
        let accepted: Vec<_> = server.asked_for("services").into_iter().map(|asked| asked.accept).collect();
        assert_eq!(accepted, ["application/vnd.kubernetes.protobuf, application/json", "application/json"], "{name}");
    }
}

/// How the pages of a list lead nowhere, and how many of them are asked for.
#[tokio::test]
async fn i7_pages_that_do_not_end_are_given_up_and_nothing_of_them_is_reported() {
    type Page = fn(&[Value], &str) -> Reply;
    for (name, page, fresh, pages) in [
        ("the same token again", page as Page, false, 2),
        ("the same token again in protobuf", page_in_protobuf, false, 2),
        ("always another token", page, true, 4_000),
    ] {
        let (server, mut follower) = follow(move |asked| {
            let token = if fresh { asked.before.to_string() } else { "again".to_owned() };
            in_pages(asked, || page(&[service("x", 1)], &token))
        })
        .await;
        let deadline = Instant::now() + Duration::from_secs(300);
        // The streaming list is tried again only after the pages were given up.
        while server.asked_for("services").iter().filter(|asked| asked.watches()).count() < 2 {
            assert!(Instant::now() < deadline, "{name}: not given up");
            sleep(Duration::from_millis(50)).await;
        }
        let asked = server.asked_for("services");
        let first = asked.iter().skip(1).take_while(|asked| !asked.watches()).count();
        assert_eq!(first, pages, "{name}");
        let listed = |event: &Event| matches!(event, Event::Listed { kind: Kind::Service, .. });
        assert!(!follower.reported_since(0).iter().any(listed), "{name}");
    }
}

/// A restarted API server answers 429 to all, and says for how long.
#[tokio::test]
async fn a_retry_after_is_obeyed() {
    let (server, mut follower) = follow(|asked| match asked.before {
        0 => Reply::new(429, "application/json", "{}").header("Retry-After", "3600"),
        _ => listed(&[]),
    })
    .await;
    follower.until("the others listed", |f| f.listed.len() == 3).await;
    // Whoever came back at once would have come before this one, which waits for less.
    let (other, mut marker) = follow(|asked| match asked.before {
        0 | 1 => Reply::new(503, "application/json", "{}"),
        _ => listed(&[]),
    })
    .await;
    marker.until("listed after two refusals", Follower::is_complete).await;
    assert_eq!((server.asked_for("services").len(), other.asked_for("services").len()), (1, 3));
    assert!(pace().retry_max < Duration::from_secs(1), "the pace alone would not have waited");
}

#[tokio::test]
async fn no_other_media_type_is_read() {
    let (server, mut follower) = follow(|asked| match asked.before {
        0 => Reply::new(200, "text/html", "<html>Please log in</html>"),
        1 => Reply::new(200, "application/json;as=Table", format!("{END}\n")).open(),
        _ => Reply::nothing("services"),
    })
    .await;
    follower.until("complete", Follower::is_complete).await;
    assert_eq!(server.asked_for("services").len(), 2, "parameters of a media type are no matter");
}
