//! What following an API server takes is counted, kind by kind.
use crate::follower::{Follower, api_until, pace};
use crate::watch::shop;
use sheave_apistub::{Misbehaviour, Server};
use sheave_core::Kind;
use sheave_kube_source::{KubeConfig, Source, Tallied};
use std::sync::Arc;

#[tokio::test]
async fn lists_interruptions_and_bytes_are_counted_for_each_kind() {
    let api = shop();
    let server = Server::on_loopback(&api).unwrap();
    let client = KubeConfig::url(server.url()).connect().await.unwrap();
    let tally = Arc::clone(client.tally());
    assert!(Kind::ALL.iter().all(|kind| tally.of(*kind) == Tallied::default()), "nothing was asked for");
    let mut follower = Follower::of(Source::Kube(client, pace()));
    follower.until("complete", Follower::is_complete).await;
    for kind in Kind::ALL {
        let Tallied { lists, interruptions, bytes } = tally.of(kind);
        assert_eq!((lists, interruptions), (1, 0), "{kind:?}");
        assert!(bytes > 0, "{kind:?}");
    }
    let sum: u64 = Kind::ALL.iter().map(|kind| tally.of(*kind).bytes).sum();
    assert_eq!(sum, api.bytes_sent(), "all that was sent, and nothing twice");

    api_until(&api, "four watches", |api| api.watches() == 4).await;
    api.cut_connections();
    api_until(&api, "resumed", |_| Kind::ALL.iter().all(|kind| tally.of(*kind).interruptions > 0)).await;
    api_until(&api, "four watches", |api| api.watches() == 4).await;
    assert_eq!(Kind::ALL.map(|kind| tally.of(kind).lists), [1; 4], "a watch that is resumed lists nothing");

    api.misbehave(Some(Misbehaviour::Status(410, None)));
    api.cut_connections();
    let before = tally.of(Kind::Service).interruptions;
    api_until(&api, "refused", |_| tally.of(Kind::Service).interruptions > before + 1).await;
    api.misbehave(None);
    api_until(&api, "listed anew", |_| tally.of(Kind::Service).lists == 2).await;
}
