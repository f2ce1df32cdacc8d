//! Maps that are there already and a configuration that wants larger ones; a table whose size nobody sets, and that is full (I7).
use crate::frame::{Frame, SYN};
use crate::rig::{BPFFS, NETS, service_id, with_rig};
use sheave_abi::{AFFINITY_MAX, AffinityKeyV4, AffinityKeyV6, AffinityValue};
use sheave_bpf::cleanup::cleanup;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, SocketLb};
use sheave_bpf::map::Map;
use sheave_bpf::pins::Pins;
use sheave_bpf::sweep::monotonic_ns;
use sheave_core::{Affinity, FrontendKind, Protocol};
use sheave_lab::Sandbox;
use std::path::Path;

const SMALL: Limits = Limits { frontends_max: 1 << 8, services_max: 1 << 8, slots_max: 1 << 8, backends_max: 1 << 8 };

#[test]
fn a_limit_that_needs_a_cleanup_to_be_raised_says_so_and_then_it_is() {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs("limits").unwrap();
    let load = |limits, flows_max| {
        Loader::new(Path::new(BPFFS), limits, flows_max, SocketLb::Off).load().map(drop).map_err(|e| e.to_string())
    };
    let test = move || {
        load(SMALL, 1 << 15).unwrap();
        let want = format!(
            "the pinned map {BPFFS}/sheave/v3/maps/flows_v4 has room for 32768 entries and `maps.flowsMax` asks for 65536; lower \
             it, or run `sheave cleanup`"
        );
        let error = load(SMALL, 1 << 16).unwrap_err();
        assert!(error.starts_with(&want), "{error}");
        assert_eq!(load(Limits::default(), 1 << 15), Ok(()), "the other maps grow");
        assert_eq!(load(SMALL, 1 << 14), Ok(()), "lower is always possible");
        cleanup(Path::new(BPFFS)).unwrap();
        assert_eq!(load(Limits::default(), 1 << 16), Ok(()), "as the message promised");
    };
    if let Err(panic) = sandbox.start("limits", test).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// Clients of another Service, as many as the tables hold.
fn remember_others() {
    let pin = |map: &str| Pins::new(Path::new(BPFFS)).maps().join(map);
    let other = AffinityValue { seen_ns: monotonic_ns(), backend: 1, zero: 0 };
    let values = vec![other; AFFINITY_MAX as usize];
    let v4: Map<AffinityKeyV4, AffinityValue> = Map::open(&pin("affinity_v4")).unwrap();
    let keys: Vec<_> = (0..AFFINITY_MAX).map(|n| AffinityKeyV4 { client: n.to_be_bytes(), service: 99 }).collect();
    v4.put_all(&keys, &values).unwrap();
    let v6: Map<AffinityKeyV6, AffinityValue> = Map::open(&pin("affinity_v6")).unwrap();
    let wide = |n: u32| u128::from(n).to_be_bytes();
    let keys: Vec<_> = (0..AFFINITY_MAX).map(|n| AffinityKeyV6 { client: wide(n), service: 99 }).collect();
    v6.put_all(&keys, &values).unwrap();
}

/// E10: who has not come for longest is forgotten, who comes is served and remembered.
#[test]
fn a_full_table_of_clients_keeps_nobody_from_being_served_or_remembered() {
    for net in NETS {
        with_rig("limits-affinity", move |rig| {
            let (service, vip) = (service_id(1), net.vip(10, 80));
            let backends: Vec<_> = (1..=32).map(|n| net.backend(n, 8080)).collect();
            rig.write_sets(service, &backends, &[]);
            rig.amend(service, |entry| entry.affinity = Some(Affinity { timeout_s: 100 }));
            rig.lead(service, vip, Protocol::Tcp, FrontendKind::ClusterIp);
            let mut dial = |port| rig.ingress(&Frame::tcp(net.client(port), vip, SYN), &["flow_new"]).seen().dst;
            dial(1);
            remember_others();
            let again = dial(2);
            for port in 3..20 {
                assert_eq!(dial(port), again, "remembered");
            }
        });
    }
}
