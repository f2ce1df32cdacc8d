//! Established flows that nobody uses any more make room.
use crate::frame::Frame;
use crate::rig::{FLOWS_MAX, NETS, with_rig};
use sheave_abi::{FLOW_STREAM_NS, FLOW_UDP_IDLE_NS};
use sheave_bpf::sweep::{Sweeper, WALK_STEPS_MIN, monotonic_ns};
use sheave_core::Protocol;
use std::path::Path;

#[test]
fn flows_idle_in_both_directions_are_removed_and_no_others() {
    for net in NETS {
        with_rig("sweep", move |rig| {
            let (vip, backend) = (net.vip(10, 53), net.backend(1, 5300));
            rig.service(net.service(), vip, Protocol::Udp, &[backend]);
            for port in [1001, 1002, 1003] {
                rig.ingress(&Frame::udp(net.client(port), vip, b"question"), &["flow_new"]);
            }
            rig.age_flows(FLOW_STREAM_NS + 1);
            for port in [1001, 1002, 1003] {
                rig.egress(&Frame::udp(backend, net.client(port), b"answer"), &["flow_reply"]);
            }
            assert_eq!((rig.states().len(), rig.sweep()), (6, 0));
            rig.age_flows(FLOW_UDP_IDLE_NS + 1);
            rig.revive(net.client(1001));
            rig.revive(net.client(1002));
            assert_eq!((rig.sweep(), rig.states().len()), (2, 4));
            rig.age_flows(FLOW_UDP_IDLE_NS + 1);
            assert_eq!((rig.sweep(), rig.states().len()), (4, 0));
        });
    }
}

#[test]
fn a_table_is_swept_in_steps_and_every_entry_is_seen_in_a_round() {
    with_rig("sweep-steps", |rig| {
        let [net, _] = NETS;
        rig.occupy(net.backend(9, 9), net.client(1), 1..=FLOWS_MAX);
        let mut sweeper = Sweeper::open(Path::new("/sys/fs/bpf")).unwrap();
        let mut looked = 0;
        let mut steps = 0;
        while looked < FLOWS_MAX as usize {
            let swept = sweeper.step(1000, monotonic_ns()).unwrap();
            assert!(swept.looked <= 1000 && swept.looked > 0, "{swept:?}");
            assert_eq!(swept.removed, 0);
            looked += swept.looked;
            steps += 1;
        }
        assert_eq!(looked, FLOWS_MAX as usize);
        assert!(steps >= 5, "{steps} steps");
    });
}

#[test]
fn a_table_that_was_walked_is_left_alone_for_a_while() {
    with_rig("sweep-rest", |rig| {
        let [net, _] = NETS;
        rig.occupy(net.backend(9, 9), net.client(1), 1..=10);
        let mut sweeper = Sweeper::open(Path::new("/sys/fs/bpf")).unwrap();
        let looked: Vec<usize> =
            (0..=2 * WALK_STEPS_MIN).map(|_| sweeper.step(1000, monotonic_ns()).unwrap().looked).collect();
        let walks = looked.chunks(WALK_STEPS_MIN as usize).map(|steps| steps[0]).collect::<Vec<_>>();
        assert_eq!((walks, looked.iter().sum()), (vec![10; 3], 30), "{looked:?}");
    });
}
