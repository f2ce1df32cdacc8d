//! The rules of the node on their way into the maps: after each write nothing is dropped or refused that neither the old nor
//! the new rules drop or refuse (I1).
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::subsequence;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::lower::lower;
use sheave_core::rules::LocalPods;
use sheave_core::{Change, NodeRules, Realized};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

const ADDRESSES: [&str; 5] = ["192.0.2.1", "192.0.2.2", "127.0.0.1", "2001:db8::1", "10.96.0.10"];
const CIDRS: [&str; 4] = ["10.96.0.0/16", "10.97.0.0/16", "10.96.0.0/24", "fd00:96::/112"];

fn addrs(texts: Vec<&str>) -> BTreeSet<IpAddr> {
    texts.into_iter().map(|text| text.parse().expect("an address")).collect()
}

fn rules() -> impl Strategy<Value = NodeRules> {
    let some = || subsequence(ADDRESSES.to_vec(), 0..=5).prop_map(addrs);
    let cidrs = subsequence(CIDRS.to_vec(), 0..=4)
        .prop_map(|texts| texts.into_iter().map(|text| text.parse().expect("a CIDR")).collect::<BTreeSet<IpNet>>());
    let pods = prop_oneof![
        Just(LocalPods::default()),
        Just(LocalPods::Cidr { v4: Some("10.244.0.0/24".parse().expect("a CIDR")), v6: None }),
        Just(LocalPods::InterfacePrefix("veth".into())),
    ];
    (any::<bool>(), pods, some(), some(), cidrs).prop_map(
        |(masquerade_all, local_pods, own, node_port_addrs, cidrs)| NodeRules {
            masquerade_all,
            local_pods,
            own,
            node_port_addrs,
            service_cidrs: cidrs.into_iter().collect(),
        },
    )
}

fn held(image: &Image) -> NodeRules {
    image.rules().map(Arc::unwrap_or_clone).unwrap_or_default()
}

fn is_between<T: Ord>(found: &BTreeSet<T>, old: &BTreeSet<T>, new: &BTreeSet<T>) -> bool {
    old.iter().filter(|item| new.contains(item)).all(|item| found.contains(item))
        && found.iter().all(|item| old.contains(item) || new.contains(item))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_write_of_new_rules_leaves_what_both_give_and_drops_what_one_of_them_does(steps in prop::collection::vec(rules(), 1..5)) {
        let mut image = Image::default();
        for wanted in steps {
            let old = held(&image);
            // As the plan has it: what they give first, what they take last.
            for rules in [old.relaxed(&wanted), wanted.clone()] {
                let from = held(&image);
                let ops = lower(&image, &Limits::default(), &Change::Rules { rules: Arc::new(rules.clone()) });
                for op in ops.expect("there is room") {
                    image.commit(&op);
                    let now = held(&image);
                    prop_assert!(is_between(&now.own, &from.own, &rules.own), "{:?}", op);
                    prop_assert!(is_between(&now.node_port_addrs, &from.node_port_addrs, &rules.node_port_addrs), "{:?}", op);
                    let cidrs = |rules: &NodeRules| rules.service_cidrs.iter().copied().collect();
                    prop_assert!(is_between(&cidrs(&now), &cidrs(&from), &cidrs(&rules)), "{:?}", op);
                    let shrinks = now.own.len() < from.own.len();
                    let more_dropped = now.service_cidrs.iter().any(|cidr| !from.service_cidrs.contains(cidr));
                    let less_dropped = from.service_cidrs.iter().any(|cidr| !rules.service_cidrs.contains(cidr) && now.service_cidrs.contains(cidr));
                    prop_assert!(!(shrinks || more_dropped) || !less_dropped, "what drops goes first: {:?}", op);
                }
                prop_assert_eq!(&held(&image), &rules);
            }
            let again = lower(&image, &Limits::default(), &Change::Rules { rules: Arc::new(wanted) });
            prop_assert_eq!(again, Ok(vec![]), "I2");
        }
    }
}
