//! A look at a real network, in a namespace of its own, and what the kernel programs would be told of it. Tools make what the
//! crate itself has no words for.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_abi::{DEVICE_BRIDGE_PORT, DEVICE_FALLBACK, DEVICE_NO_ETHERNET, DEVICE_UPLINK, DeviceValue};
use sheave_core::rules::LocalPods;
use sheave_lab::Sandbox;
use sheave_node::{Filter, Link, Surroundings, Survey, chains, device_values, fallback_addresses, filters, survey};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

const NEEDS: &str = "making a network namespace needs root";

fn in_namespace(body: impl FnOnce() + Send + 'static) {
    Sandbox::new("survey").unwrap().run(body).unwrap();
}

/// Runs a tool for each line; `~` is a space within an argument.
fn run(tool: &str, lines: &[&str]) {
    for line in lines {
        let output =
            Command::new(tool).args(line.split_whitespace().map(|word| word.replace('~', " "))).output().unwrap();
        assert!(output.status.success(), "{tool} {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn device<'a>(survey: &'a Survey, name: &str) -> &'a Link {
    survey.links.values().find(|link| link.name == name).unwrap()
}

fn values(Survey { links, addresses }: &Survey) -> BTreeMap<u32, DeviceValue> {
    let primary = ["192.0.2.1".parse().unwrap()];
    device_values(Surroundings { links, addresses, primary: &primary, local_pods: &LocalPods::default() })
}

#[test]
fn every_kind_of_device_is_told_as_what_it_is() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(|| {
        run(
            "ip",
            &[
                "link add eth0 type veth peer name fabric0",
                "address add 192.0.2.1/24 dev eth0",
                "address add 192.0.2.2/24 dev eth0",
                "address add 2001:db8::1/64 dev eth0 nodad",
                "link add link eth0 name shim type macvlan mode bridge",
                "address add 198.51.100.1/24 dev shim",
                "link add cni0 type bridge",
                "address add 10.244.1.1/24 dev cni0",
                "link add veth1 type veth peer name pod1",
                "link set veth1 master cni0",
                "link add flannel.1 type vxlan id 1 dstport 8472 local 192.0.2.1",
                "address add 10.244.1.0/32 dev flannel.1",
                "tuntap add dev tun0 mode tun",
                "tuntap add dev tap0 mode tap",
                "address add 10.8.0.1/24 dev tun0",
            ],
        );
        let survey = survey().unwrap();
        let values = values(&survey);
        let bridge_mac = device(&survey, "cni0").mac.unwrap();
        for (name, flags, sources) in [
            ("eth0", DEVICE_UPLINK, "192.0.2.1 2001:db8::1"),
            ("shim", DEVICE_UPLINK, "198.51.100.1"),
            ("cni0", 0, "10.244.1.1"),
            ("veth1", DEVICE_BRIDGE_PORT, "10.244.1.1"),
            ("flannel.1", 0, "10.244.1.0"),
            ("tun0", DEVICE_NO_ETHERNET, "10.8.0.1"),
            ("tap0", 0, ""),
        ] {
            let link = device(&survey, name);
            let value = values[&link.index.get()];
            let port = flags & DEVICE_BRIDGE_PORT != 0;
            assert_eq!(
                (value.flags, value.mac, value.bridge_mac),
                (flags, link.mac.unwrap_or_default(), if port { bridge_mac } else { [0; 6] }),
                "{name}"
            );
            let addrs = fallback_addresses(&BTreeMap::from([(DEVICE_FALLBACK, value)]));
            assert_eq!(addrs.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "), sources, "{name}");
        }
        assert!(!values.contains_key(&device(&survey, "lo").index.get()));
        let uplinks: Vec<&str> = survey.uplinks().map(|link| link.name.as_str()).collect();
        assert_eq!(uplinks, ["eth0", "shim"]);
        assert_eq!(device(&survey, "eth0").xdp_program, None);
    });
}

#[test]
fn filters_of_a_devices_clsact_qdisc_are_listed() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(|| {
        run("ip", &["link add eth0 type veth peer name fabric0"]);
        let index = device(&survey().unwrap(), "eth0").index;
        assert_eq!(filters(index).unwrap(), []);
        run(
            "tc",
            &[
                "qdisc add dev eth0 clsact",
                "filter add dev eth0 ingress priority 7 handle 3 protocol all bpf bytecode 1,6~0~0~0,",
                "filter add dev eth0 egress priority 9 protocol ip bpf bytecode 1,6~0~0~0,",
            ],
        );
        let filter = |priority, handle| Filter { priority, handle, what: "bpf".to_owned() };
        assert_eq!(filters(index).unwrap(), [filter(7, 3), filter(9, 1)]);
    });
}

#[test]
fn a_chain_that_drops_what_is_forwarded_is_told_from_the_others() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(|| {
        assert!(chains().unwrap().is_empty());
        run(
            "nft",
            &[
                "add table ip filter",
                "add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }",
                "add chain ip filter INPUT { type filter hook input priority 0 ; policy drop ; }",
                "add table inet kube-proxy",
                "add chain inet kube-proxy forward { type filter hook forward priority 0 ; policy accept ; }",
                "add chain inet kube-proxy services",
            ],
        );
        let mut chains = chains().unwrap();
        chains.sort_by(|a, b| (a.family, &a.table, &a.name).cmp(&(b.family, &b.table, &b.name)));
        let told: Vec<_> =
            chains.iter().map(|c| (c.family, c.table.as_str(), c.name.as_str(), c.drops_forwarded)).collect();
        assert_eq!(
            told,
            [
                ("inet", "kube-proxy", "forward", false),
                ("inet", "kube-proxy", "services", false),
                ("ip", "filter", "FORWARD", true),
                ("ip", "filter", "INPUT", false),
            ]
        );
    });
}
