//! The watch source over HTTP.
use crate::follower::{Follower, api_until, asked, pace};
use serde_json::{Value, json};
use sheave_apistub::{Api, Server, Verb};
use sheave_core::{Event, Kind};
use sheave_kube_source::{KubeConfig, Source};
use std::path::Path;

pub(crate) fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

pub(crate) fn shop() -> Api {
    let api = Api::new();
    api.load(examples()).unwrap();
    api
}

pub(crate) fn service(name: &str, last: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": format!("10.96.1.{last}"), "ports": [{"port": 80}]},
    })
}

/// What the source has to hold of the examples: one of the two Nodes, and everything else.
const SHOP: [&str; 12] = [
    "Service shop/api",
    "Service shop/dns",
    "Service shop/empty",
    "Service shop/web",
    "EndpointSlice shop/api-ipv4",
    "EndpointSlice shop/api-ipv6",
    "EndpointSlice shop/dns-ipv4",
    "EndpointSlice shop/dns-ipv6",
    "EndpointSlice shop/web-ipv4",
    "EndpointSlice shop/web-ipv6",
    "Node node-a",
    "ServiceCIDR kubernetes",
];

#[tokio::test]
async fn the_first_list_of_every_kind_is_complete_and_files_say_the_same() {
    let server = Server::on_loopback(&shop()).unwrap();
    let watched = Follower::of_server(&server).await;
    assert_eq!(watched.names(), SHOP);
    assert_eq!(watched.diagnostics(), [""; 0]);
    let mut read = Follower::of(Source::Files(examples().to_owned()));
    read.until("complete", Follower::is_complete).await;
    assert_eq!(read.names(), SHOP);
    let without_age_and_origin = |follower: &Follower| {
        let mut objects: Vec<_> = follower.objects.values().cloned().collect();
        for object in &mut objects {
            if let sheave_core::Object::Service(service) = object {
                service.created_unix_s = 0;
                service.origin = None;
            }
        }
        objects
    };
    assert_eq!(without_age_and_origin(&read), without_age_and_origin(&watched));
}

#[tokio::test]
async fn changes_are_reported_one_by_one() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    let from = follower.log.len();
    api.apply(service("new", 1)).unwrap();
    follower.until("added", |f| f.holds("Service shop/new")).await;
    api.apply(service("new", 2)).unwrap();
    follower.until("modified", |f| format!("{:?}", f.objects).contains("10.96.1.2")).await;
    api.delete("Service", "shop", "new").unwrap();
    follower.until("deleted", |f| !f.holds("Service shop/new")).await;
    let kinds: Vec<_> = follower.log[from..].iter().map(|event| matches!(event, Event::Deleted(_))).collect();
    assert_eq!(kinds, [false, false, true]);
}

#[tokio::test]
async fn a_watch_resumes_at_the_bookmark_without_a_list() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    // Versions are shared: this moves on what the other kinds would resume at, but for the bookmark.
    let version = api.apply(service("new", 1)).unwrap();
    follower.until("added", |f| f.holds("Service shop/new")).await;
    let before = api.bytes_sent();
    api.bookmark();
    api_until(&api, "bookmarks sent", |api| api.bytes_sent() >= before + 4 * 80).await;
    api.compact();
    api.end_watches();
    api_until(&api, "four watches resumed", |api| {
        Kind::ALL.iter().all(|kind| asked(api, Verb::Watch, kind.as_str()).len() == 1) && api.watches() == 4
    })
    .await;
    for kind in Kind::ALL {
        let uri = &asked(&api, Verb::Watch, kind.as_str())[0].uri;
        assert!(uri.contains(&format!("resourceVersion={version}")), "{uri}");
        assert_eq!(asked(&api, Verb::WatchList, kind.as_str()).len(), 1, "{kind:?} was listed once");
    }
    api.delete("Service", "shop", "new").unwrap();
    follower.until("deleted", |f| !f.holds("Service shop/new")).await;
    assert!(follower.listed.values().all(|times| *times == 1), "{:?}", follower.listed);
}

#[tokio::test]
async fn after_410_a_list_says_what_changed_meanwhile() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    api.mute_watches(true);
    api.delete("Service", "shop", "web").unwrap();
    api.apply(service("new", 1)).unwrap();
    api.compact();
    api.end_watches();
    api.mute_watches(false);
    follower.until("listed anew", |f| f.listed[&Kind::Service] == 2).await;
    assert!(follower.holds("Service shop/new") && !follower.holds("Service shop/web"));
    assert_eq!(follower.objects.len(), SHOP.len());
    assert!(!follower.log.iter().any(|event| matches!(event, Event::Deleted(_))), "the list said it all");
}

#[tokio::test]
async fn servers_without_streaming_lists_are_listed_in_pages() {
    let api = shop();
    api.set_streaming_lists(false);
    for n in 0..1100 {
        api.apply(service(&format!("s-{n:04}"), 1)).unwrap();
    }
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    assert_eq!(follower.objects.len(), SHOP.len() + 1100);
    assert_eq!(asked(&api, Verb::List, "Service").len(), 3, "pages of 500");
    api.delete("Service", "shop", "web").unwrap();
    follower.until("watching", |f| !f.holds("Service shop/web")).await;
}

#[tokio::test]
async fn w12_service_cidrs_that_are_not_served_count_as_none_and_are_asked_for_again() {
    for code in [403, 404] {
        let api = shop();
        api.refuse("ServiceCIDR", Some(code)).unwrap();
        let server = Server::on_loopback(&api).unwrap();
        let mut follower = Follower::of_server(&server).await;
        assert!(!follower.holds("ServiceCIDR kubernetes"), "{code}");
        api.refuse("ServiceCIDR", None).unwrap();
        follower.until("served at last", |f| f.holds("ServiceCIDR kubernetes")).await;
        api.refuse("ServiceCIDR", Some(code)).unwrap();
        let asked_before = asked(&api, Verb::Watch, "ServiceCIDR").len();
        api.cut_connections();
        api_until(&api, "refused", |api| asked(api, Verb::Watch, "ServiceCIDR").len() > asked_before + 1).await;
        assert!(follower.holds("ServiceCIDR kubernetes"), "{code}: what was listed stays");
        assert_eq!(follower.listed[&Kind::ServiceCidr], 2);
    }
}

#[tokio::test]
async fn w12_other_kinds_that_are_refused_are_waited_for() {
    for kind in [Kind::Service, Kind::EndpointSlice, Kind::Node] {
        let api = shop();
        api.refuse(kind.as_str(), Some(403)).unwrap();
        let server = Server::on_loopback(&api).unwrap();
        let mut follower = Follower::of_url(&server.url()).await;
        follower.until("the others listed", |f| f.listed.len() == 3).await;
        api_until(&api, "asked again", |api| asked(api, Verb::WatchList, kind.as_str()).len() > 2).await;
        assert!(!follower.is_complete(), "{kind:?}");
        api.refuse(kind.as_str(), None).unwrap();
        follower.until("complete", Follower::is_complete).await;
    }
}

#[tokio::test]
async fn a_client_says_who_it_is_and_shows_its_token() {
    let api = shop();
    api.require_token(Some("secret".to_owned()));
    let server = Server::on_loopback(&api).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let config = KubeConfig::url(server.url()).token_file(&token);
    let mut follower = Follower::of(Source::Kube(config.connect().await.unwrap(), pace()));
    follower.until("complete", Follower::is_complete).await;
    for request in api.requests() {
        assert_eq!(request.user_agent, concat!("sheave/", env!("CARGO_PKG_VERSION")));
        assert!(request.uri.contains("timeoutSeconds="), "{}", request.uri);
    }
    let mut stranger = Follower::of_url(&server.url()).await;
    let asked_before = api.requests().len();
    api_until(&api, "asked and refused", |api| api.requests().len() > asked_before + 8).await;
    assert_eq!(stranger.reported_since(0), []);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut follower = Follower::of_url(&format!("http://{address}")).await;
    assert_eq!(follower.reported_since(0), []);
    let _server = Server::on(&shop(), std::net::TcpListener::bind(address).unwrap()).unwrap();
    follower.until("complete", Follower::is_complete).await;
}

#[tokio::test]
async fn a_source_ends_when_nobody_listens() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let follower = Follower::of_server(&server).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    drop(follower);
    api_until(&api, "no watch", |api| api.watches() == 0).await;
}

#[tokio::test]
async fn what_cannot_be_reached_at_all_is_an_error_at_once() {
    for (config, want) in [
        (KubeConfig::url("not a url"), "\"not a url\" is not a URL; write https://HOST:PORT"),
        (KubeConfig::file("/nonexistent/kubeconfig"), "kubeconfig /nonexistent/kubeconfig cannot be used"),
    ] {
        assert_eq!(config.connect().await.unwrap_err().to_string(), want);
    }
}
