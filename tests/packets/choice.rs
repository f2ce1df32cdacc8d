//! E9: uniform and random per new flow.
use crate::frame::Frame;
use crate::rig::{NETS, with_rig};
use sheave_core::Protocol;
use std::collections::BTreeMap;

#[test]
fn new_flows_are_spread_evenly_over_the_backends() {
    for net in NETS {
        with_rig("choice", move |rig| {
            const FLOWS: u16 = 6000;
            const BACKENDS: u16 = 6;
            let vip = net.vip(10, 53);
            let backends: Vec<_> = (1..=BACKENDS).map(|n| net.backend(n, 5300)).collect();
            rig.service(1, vip, Protocol::Udp, &backends);
            let mut counts = BTreeMap::new();
            for port in 1024..1024 + FLOWS {
                let seen = rig.ingress(&Frame::udp(net.client(port), vip, b"!"), &["flow_new"]).seen();
                *counts.entry(seen.dst).or_insert(0_i64) += 1;
            }
            assert_eq!(counts.len(), backends.len());
            let expected = i64::from(FLOWS / BACKENDS);
            let chi_squared = counts.values().map(|count| (count - expected).pow(2)).sum::<i64>() / expected;
            // Five degrees of freedom: above 40 once in five million runs.
            assert!(chi_squared < 40, "{counts:?}");
        });
    }
}

#[test]
fn a_service_of_many_backends_reaches_all_of_them_over_several_chunks() {
    with_rig("choice-many", |rig| {
        const BACKENDS: u32 = 20_000;
        let [net, _] = NETS;
        let vip = net.vip(10, 53);
        let backends: Vec<_> = (0..BACKENDS).map(|n| net.backend(u16::try_from(n).unwrap(), 5300)).collect();
        rig.service(1, vip, Protocol::Udp, &backends);
        let (mut low, mut high) = (0, 0);
        for port in 1024..1224 {
            let seen = rig.ingress(&Frame::udp(net.client(port), vip, b"!"), &["flow_new"]).seen();
            let n = backends.iter().position(|backend| *backend == seen.dst).unwrap();
            *(if n < 16_384 { &mut low } else { &mut high }) += 1;
        }
        assert!(low > 100 && high > 5, "{low} in the first chunk of backends, {high} in the second");
    });
}
