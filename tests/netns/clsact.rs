//! Devices of kernels without tcx: the same programs as clsact filters, replaced in place, removed by cleanup.
use crate::NEEDS;
use crate::world::{BACKENDS, HTTP, World, answering, counted, eventually, outcome, targets, web};
use sheave_agent::config::SocketLb;
use sheave_bpf::attach::{Device, DeviceHook, Header, attach_device, forget_device};
use sheave_bpf::cleanup::{Removed, cleanup};
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, SocketLb as Sockets};
use sheave_lab::probe::{Caller, Load, Manner};
use sheave_node::{LinkChange, serves, watch_links};
use sheave_tests::kernel_or_skip;
use std::path::Path;
use std::time::Duration;

const BPFFS: &str = "/sys/fs/bpf";

/// What the agent does where there is no tcx; the tcx links are taken away once the filters stand. Returns how many devices.
fn move_to_clsact() -> usize {
    let mut programs = Loader::new(Path::new(BPFFS), Limits::default(), 1 << 16, Sockets::Off).load().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let devices = runtime.block_on(async {
        let (mut links, mut devices) = (watch_links().unwrap(), Vec::new());
        while let Some(Ok(LinkChange::Added(link))) = links.next().await {
            let (index, header) = (link.index.get(), Header::Ethernet);
            if serves(&link) {
                devices.push(Device { index, name: link.name, header });
            }
        }
        devices
    });
    for device in &devices {
        attach_device(&mut programs, device, DeviceHook::Clsact).unwrap();
        forget_device(programs.links_dir(), device.index);
    }
    devices.len()
}

#[test]
fn clsact_filters_serve_are_replaced_in_place_and_go_with_cleanup() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let mut world = World::serving(SocketLb::Off, &service);
    world.stop_agent();
    let node = world.cluster.node("node-a").unwrap().sandbox().clone();
    // Adding the qdisc loses packets: the kernel takes the device down and up for it (sch_api.c, qdisc_graft).
    let devices = node.run(move_to_clsact).unwrap();
    // The kernel ends a link some time after its pin has gone (`bpf_link_put_deferred`). Until then both translate each packet, and what one
    // has made of it the other takes for another flow.
    let vip = targets(&service).into_iter().find(|target| target.addr.port() == HTTP.2).unwrap();
    eventually("the filters are alone", || {
        let before = counted(&node, "event_port_taken");
        outcome(&world, "client", vip).is_ok() && counted(&node, "event_port_taken") == before
    });
    let callers = targets(&service).into_iter().flat_map(|target| {
        [Manner::Fresh, Manner::Held].map(|manner| Caller { client: world.client("client"), target, manner })
    });
    let (load, samples) = Load::start(callers.collect(), Duration::from_millis(10)).unwrap();
    for _ in 0..3 {
        assert_eq!(node.run(move_to_clsact).unwrap(), devices, "as the next start does it");
    }
    for target in targets(&service) {
        assert_eq!(answering(&world.client("client"), target, 64).len(), BACKENDS.len(), "{target} by clsact");
    }
    load.stop();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");

    let removed = node.run(|| cleanup(Path::new(BPFFS))).unwrap().unwrap();
    assert_eq!(removed.filters, 2 * devices, "{removed:?}");
    assert!(!node.run(|| Path::new(BPFFS).join("sheave").exists()).unwrap(), "pins are left");
    assert!(outcome(&world, "client", vip).is_err(), "a program is left");
    assert_eq!(node.run(|| cleanup(Path::new(BPFFS))).unwrap().unwrap(), Removed::default(), "a second time");
}
