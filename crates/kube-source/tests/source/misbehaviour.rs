//! A server that lets us down: nothing is reported that shrinks what is programmed (I4), and then we recover.
use crate::follower::{Follower, api_until, asked, pace};
use crate::watch::{service, shop};
use sheave_apistub::{Misbehaviour, Server, Verb};
use sheave_core::{Event, Kind};
use sheave_kube_source::{KubeConfig, Pace, Source};
use std::time::Duration;

const WAYS: [Misbehaviour; 9] = [
    Misbehaviour::Close,
    Misbehaviour::Stall,
    Misbehaviour::Garbage,
    Misbehaviour::WrongContentType,
    Misbehaviour::Status(500, None),
    Misbehaviour::Status(503, None),
    Misbehaviour::Status(429, Some(Duration::ZERO)),
    Misbehaviour::Status(410, None),
    // In protobuf the shortest list has 200 bytes.
    Misbehaviour::CutAfter(100),
];

#[tokio::test]
async fn while_a_server_misbehaves_everything_stays_and_then_it_recovers() {
    // A watch that is resumed has nothing to send that could be cut.
    for way in WAYS.into_iter().filter(|way| !matches!(way, Misbehaviour::CutAfter(_))) {
        let api = shop();
        let server = Server::on_loopback(&api).unwrap();
        let mut follower = Follower::of_server(&server).await;
        api_until(&api, "four watches", |api| api.watches() == 4).await;
        let (held, from) = (follower.names(), follower.log.len());
        api.misbehave(Some(way));
        api.cut_connections();
        let asked_before = api.requests().len();
        api_until(&api, "tried again and again", |api| api.requests().len() > asked_before + 8).await;
        assert_eq!(follower.reported_since(from), [], "{way:?}");
        assert_eq!(follower.names(), held, "{way:?}");
        api.delete("Service", "shop", "web").unwrap();
        api.apply(service("new", 1)).unwrap();
        api.misbehave(None);
        let recovered = |f: &Follower| f.holds("Service shop/new") && !f.holds("Service shop/web");
        follower.until(&format!("recovered from {way:?}"), recovered).await;
        assert_eq!(follower.objects.len(), held.len(), "{way:?}");
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_from_the_start_gives_no_list_until_it_does_not() {
    for way in WAYS {
        let api = shop();
        let server = Server::on_loopback(&api).unwrap();
        api.misbehave(Some(way));
        let mut follower = Follower::of_url(&server.url()).await;
        api_until(&api, "tried again and again", |api| api.requests().len() > 8).await;
        assert_eq!(follower.reported_since(0), [], "{way:?}");
        api.misbehave(None);
        follower.until(&format!("complete after {way:?}"), Follower::is_complete).await;
    }
}

#[tokio::test]
async fn a_paged_list_that_breaks_off_reports_nothing() {
    let api = shop();
    api.set_streaming_lists(false);
    let server = Server::on_loopback(&api).unwrap();
    api.misbehave(Some(Misbehaviour::CutAfter(1000)));
    let mut follower = Follower::of_url(&server.url()).await;
    api_until(&api, "tried again and again", |api| asked(api, Verb::List, "Service").len() > 3).await;
    assert!(!follower.reported_since(0).iter().any(|e| matches!(e, Event::Listed { kind: Kind::Service, .. })));
    api.misbehave(None);
    follower.until("complete", Follower::is_complete).await;
}

#[tokio::test]
async fn a_watch_that_goes_silent_beyond_its_time_is_taken_up_elsewhere() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let pace = Pace { watch_min: Duration::from_millis(500), ..pace() };
    let mut follower = Follower::of(Source::Kube(KubeConfig::url(server.url()).connect().await.unwrap(), pace));
    follower.until("complete", Follower::is_complete).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    api.mute_watches(true);
    api.apply(service("new", 1)).unwrap();
    api_until(&api, "watching anew", |api| !asked(api, Verb::Watch, "Service").is_empty()).await;
    api.mute_watches(false);
    follower.until("added", |f| f.holds("Service shop/new")).await;
}

#[tokio::test]
async fn a_line_of_garbage_in_a_watch_is_followed_by_a_list() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    api.garble_watches();
    follower.until("listed anew", |f| f.listed.values().all(|times| *times == 2)).await;
    api.apply(service("new", 1)).unwrap();
    follower.until("added", |f| f.holds("Service shop/new")).await;
}

#[tokio::test]
async fn a_server_that_ends_watches_at_once_is_not_asked_without_a_pause() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let slow = Pace { retry_min: Duration::from_secs(3600), retry_max: Duration::from_secs(7200), ..pace() };
    let mut follower = Follower::of(Source::Kube(KubeConfig::url(server.url()).connect().await.unwrap(), slow));
    follower.until("complete", Follower::is_complete).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    let asked_before = api.requests().len();
    api.end_watches();
    api_until(&api, "no watch", |api| api.watches() == 0).await;
    // A client that came back at once would be seen by its own marker: a request after this one.
    let mut other = Follower::of_server(&server).await;
    api.apply(service("new", 1)).unwrap();
    other.until("added", |f| f.holds("Service shop/new")).await;
    let came_back = api.requests()[asked_before..].iter().filter(|request| request.verb == Verb::Watch).count();
    assert_eq!(came_back, 0, "an hour's pause was asked for");
}
