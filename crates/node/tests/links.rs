//! Following real links, in a namespace of their own.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use rtnetlink::{Handle, LinkBridge, LinkIfb, LinkUnspec, LinkVeth, LinkVxlan, new_connection};
use sheave_lab::Sandbox;
use sheave_node::{Layer, Link, LinkChange, LinkIndex, LinkKind, LinkWatch, Upper, serves, watch_links};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const NEEDS: &str = "making a network namespace needs root";
const DEADLINE: Duration = Duration::from_secs(20);
/// More changes than a watch's backlog and the kernel's usual receive buffer hold, at more than 1 KiB each.
const LINKS: u32 = 400;
const USUAL_BUFFER: usize = 256 << 10;

/// Runs a test body in an empty network namespace, with a connection to change it.
fn in_namespace<F: Future<Output = ()>>(body: impl FnOnce(Handle) -> F + Send + 'static) {
    let sandbox = Sandbox::new("links").unwrap();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().unwrap();
            tokio::spawn(connection);
            tokio::time::timeout(DEADLINE, body(handle)).await.expect("within the deadline");
        });
    };
    sandbox.run(run).unwrap();
}

async fn next(watch: &mut LinkWatch) -> LinkChange {
    watch.next().await.expect("the watch goes on").unwrap()
}

/// Links that the kernel adds to each namespace by itself depend on its modules.
fn ours(link: &Link) -> bool {
    ["lo", "veth", "br", "vx", "pod", "test"].iter().any(|prefix| link.name.starts_with(prefix))
}

/// A pair of devices, and a watch that has told what was there when it began.
async fn watch_of_pair(handle: &Handle) -> (LinkWatch, BTreeMap<String, Link>) {
    handle.link().add(LinkVeth::new("veth0", "veth1").build()).execute().await.unwrap();
    let mut watch = watch_links().unwrap();
    let mut told = BTreeMap::new();
    loop {
        match next(&mut watch).await {
            LinkChange::Added(link) => assert!(told.insert(link.name.clone(), link).is_none()),
            LinkChange::Settled => return (watch, told),
            other => panic!("{other:?} before all is told"),
        }
    }
}

/// Reads on until a change is about this name and fits.
async fn until(watch: &mut LinkWatch, fits: impl Fn(&LinkChange) -> bool) {
    while !fits(&next(watch).await) {}
}

#[test]
fn links_are_told_at_the_start_and_then_as_they_come_change_and_go() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |handle| {
        let link = handle.link();
        let (mut watch, mut told) = watch_of_pair(&handle).await;
        told.retain(|_, link| ours(link));
        assert_eq!(told.keys().collect::<Vec<_>>(), ["lo", "veth0", "veth1"]);
        assert_eq!((told["lo"].layer, serves(&told["lo"])), (Layer::Loopback, false));
        assert_eq!((&told["veth0"].kind, told["veth0"].layer), (&LinkKind::Veth, Layer::Ethernet));
        assert!(told["veth0"].mac.is_some() && serves(&told["veth0"]));

        let veth0 = told["veth0"].index;
        link.add(LinkBridge::new("br0").build()).execute().await.unwrap();
        let mut bridge = None;
        while bridge.is_none() {
            if let LinkChange::Added(link) = next(&mut watch).await {
                bridge = (link.kind == LinkKind::Bridge).then_some(link.index);
            }
        }
        let bridge = bridge.unwrap();
        let join = |upper: u32| LinkUnspec::new_with_index(veth0.get()).controller(upper).build();
        link.change(join(bridge.get())).execute().await.unwrap();
        until(&mut watch, |change| matches!(change, LinkChange::Changed(link) if link.upper == Upper::Other(bridge)))
            .await;
        link.change(join(0)).execute().await.unwrap();
        until(&mut watch, |change| match change {
            LinkChange::Removed(link) => panic!("{} only left its bridge", link.name),
            LinkChange::Changed(link) => link.index == veth0 && link.upper == Upper::None,
            _ => false,
        })
        .await;
        link.change(LinkUnspec::new_with_index(veth0.get()).name("pod0").build()).execute().await.unwrap();
        until(&mut watch, |change| matches!(change, LinkChange::Changed(link) if link.name == "pod0")).await;
        link.del(veth0.get()).execute().await.unwrap();
        until(&mut watch, |change| matches!(change, LinkChange::Removed(link) if link.index == veth0)).await;
    });
}

/// Plugins make a pair here and move an end of it, of which the kernel tells nobody here. When a pod's end goes up, the other one has a carrier.
#[test]
fn the_namespace_of_a_veths_other_end_is_told_when_the_pair_is_in_use() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |handle| {
        let link = handle.link();
        let (mut watch, ends) = watch_of_pair(&handle).await;
        assert_eq!(ends["veth0"].peer_netns, None, "both ends are here");
        link.change(LinkUnspec::new_with_index(ends["veth0"].index.get()).up().build()).execute().await.unwrap();
        let pod = Sandbox::new("links-pod").unwrap();
        let (index, pid) = (ends["veth1"].index.get(), pod.thread_id().as_raw().unsigned_abs());
        link.change(LinkUnspec::new_with_index(index).setns_by_pid(pid).build()).execute().await.unwrap();
        pod.run(|| {
            let up = Command::new("ip").args(["link", "set", "veth1", "up"]).status().unwrap();
            assert!(up.success());
        })
        .unwrap();
        until(
            &mut watch,
            |change| matches!(change, LinkChange::Changed(link) if link.name == "veth0" && link.peer_netns.is_some()),
        )
        .await;
    });
}

#[test]
fn tunnels_and_redirectors_are_told_apart() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |handle| {
        handle.link().add(LinkVxlan::new("vx0", 7).port(4789).build()).execute().await.unwrap();
        handle.link().add(LinkIfb::new("test0").build()).execute().await.unwrap();
        let mut told = BTreeMap::new();
        let mut watch = watch_links().unwrap();
        while let LinkChange::Added(link) = next(&mut watch).await {
            told.insert(link.name.clone(), link);
        }
        assert_eq!((&told["vx0"].kind, serves(&told["vx0"])), (&LinkKind::Vxlan, true));
        assert_eq!((&told["test0"].kind, serves(&told["test0"])), (&LinkKind::Ifb, false));
    });
}

#[test]
fn a_reader_that_falls_far_behind_ends_up_with_the_truth() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |handle| {
        let mut watch = watch_links().unwrap();
        until(&mut watch, |change| *change == LinkChange::Settled).await;
        // Nobody reads while this goes on.
        let index = |number: u32| 1000 + number;
        for number in 0..LINKS {
            let peer = LinkVeth::new(&format!("veth{number}"), &format!("pod{number}")).index(index(number)).build();
            handle.link().add(peer).execute().await.unwrap();
            if number % 2 == 0 {
                handle.link().del(index(number)).execute().await.unwrap();
            }
        }
        handle.link().add(LinkBridge::new("br-last").build()).execute().await.unwrap();
        let mut told: BTreeMap<LinkIndex, String> = BTreeMap::new();
        let buffer: usize = std::fs::read_to_string("/proc/sys/net/core/rmem_default").unwrap().trim().parse().unwrap();
        // Where the administrator has made the buffer larger, nothing is lost and nothing is listed again.
        let mut listed_again = buffer > USUAL_BUFFER;
        let want: Vec<String> =
            (0..LINKS).filter(|number| number % 2 == 1).map(|number| format!("veth{number}")).collect();
        loop {
            match next(&mut watch).await {
                LinkChange::Added(link) | LinkChange::Changed(link) => drop(told.insert(link.index, link.name)),
                LinkChange::Removed(link) => drop(told.remove(&link.index)),
                LinkChange::Settled => listed_again = true,
            }
            let veths = told.values().filter(|name| name.starts_with("veth"));
            let last = told.values().any(|name| name == "br-last");
            if listed_again && last && veths.clone().count() == want.len() {
                let mut veths: Vec<String> = veths.cloned().collect();
                veths.sort_by_key(|name| name[4..].parse::<u32>().unwrap());
                assert_eq!(veths, want);
                return;
            }
        }
    });
}
