//! Following real addresses, in a namespace of their own. Bridges stand in for dummy devices, which not every kernel has: what
//! a device is made of does not matter here, only its name does.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::{AddressMessageBuilder, Handle, LinkBridge, LinkUnspec, LinkVeth, new_connection};
use sheave_lab::Sandbox;
use sheave_node::{AddressWatch, watch_addresses};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NEEDS: &str = "making a network namespace needs root";
const DEADLINE: Duration = Duration::from_secs(20);
/// More changes than the kernel's usual receive buffer holds.
const MANY: u32 = 1000;
const BRIDGE: u32 = 100;
const LO: u32 = 1;

/// Runs a test body in an empty network namespace, with a connection to change it.
fn in_namespace<F: Future<Output = ()>>(body: impl FnOnce(Network) -> F + Send + 'static) {
    let sandbox = Sandbox::new("addresses").unwrap();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().unwrap();
            tokio::spawn(connection);
            tokio::time::timeout(DEADLINE, body(Network(handle))).await.expect("within the deadline");
        });
    };
    sandbox.run(run).unwrap();
}

struct Network(Handle);

impl Network {
    async fn bridge(&self, name: &str, index: u32) {
        self.0.link().add(LinkBridge::new(name).index(index).up().build()).execute().await.unwrap();
    }

    async fn rename(&self, index: u32, name: &str) {
        self.0.link().change(LinkUnspec::new_with_index(index).down().name(name).build()).execute().await.unwrap();
    }

    /// As `ip address add ADDR/LENGTH dev INDEX nodad`.
    async fn add(&self, index: u32, addr: &str) {
        let addr: IpAddr = addr.parse().unwrap();
        let mut request = self.0.address().add(index, addr, if addr.is_ipv4() { 24 } else { 64 });
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        request.execute().await.unwrap();
    }

    async fn remove(&self, index: u32, addr: &str) {
        let addr: IpAddr = addr.parse().unwrap();
        self.0.address().del(message(index, addr, if addr.is_ipv4() { 24 } else { 64 })).execute().await.unwrap();
    }
}

fn message(index: u32, addr: IpAddr, prefix_len: u8) -> AddressMessage {
    match addr {
        IpAddr::V4(addr) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(addr, prefix_len).build(),
        IpAddr::V6(addr) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(addr, prefix_len).build(),
    }
}

fn set(addrs: &[&str]) -> BTreeSet<IpAddr> {
    addrs.iter().map(|addr| addr.parse().unwrap()).collect()
}

async fn next(watch: &mut AddressWatch) -> Vec<String> {
    watch.next().await.unwrap().own.iter().map(IpAddr::to_string).collect()
}

#[test]
fn addresses_are_told_at_the_start_and_then_as_they_come_and_go() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |network| {
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, [""; 0], "nothing but a lo that is down");
        network.bridge("br0", BRIDGE).await;
        network.add(BRIDGE, "10.0.0.1").await;
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, ["10.0.0.1"]);
        network.add(BRIDGE, "10.0.0.2").await;
        assert_eq!(next(&mut watch).await, ["10.0.0.1", "10.0.0.2"], "a secondary one");
        network.add(BRIDGE, "fd00::1").await;
        assert_eq!(next(&mut watch).await, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        network.add(LO, "192.0.2.1").await;
        assert_eq!(next(&mut watch).await, ["10.0.0.1", "10.0.0.2", "192.0.2.1", "fd00::1"], "on lo, as routers do");
        network.remove(BRIDGE, "fd00::1").await;
        assert_eq!(next(&mut watch).await, ["10.0.0.1", "10.0.0.2", "192.0.2.1"]);
        network.0.link().del(BRIDGE).execute().await.unwrap();
        // The kernel takes them away one after the other.
        while next(&mut watch).await != ["192.0.2.1"] {}
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, ["192.0.2.1"]);
    });
}

/// Node-local DNS, and every VIP on a device of kube-proxy's IPVS mode (A12).
#[test]
fn addresses_of_a_device_that_only_holds_vips_are_not_told() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |network| {
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, [""; 0]);
        network.bridge("kube-ipvs0", BRIDGE).await;
        network.add(BRIDGE, "10.96.0.10").await;
        network.add(BRIDGE, "fd96::10").await;
        network.bridge("nodelocaldns", BRIDGE + 1).await;
        network.add(BRIDGE + 1, "169.254.20.10").await;
        assert_eq!(next(&mut watch).await, ["169.254.20.10"]);
        network.add(BRIDGE + 1, "10.96.0.10").await;
        assert_eq!(next(&mut watch).await, ["10.96.0.10", "169.254.20.10"], "on both");
        network.remove(BRIDGE + 1, "10.96.0.10").await;
        assert_eq!(next(&mut watch).await, ["169.254.20.10"]);
        network.remove(BRIDGE, "fd96::10").await;
        network.rename(BRIDGE, "other").await;
        assert_eq!(next(&mut watch).await, ["10.96.0.10", "169.254.20.10"], "the name is what tells");
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, ["10.96.0.10", "169.254.20.10"]);
    });
}

/// RFC 4862, 5.4: until then packets to it are discarded.
#[test]
fn an_ipv6_address_is_told_when_duplicate_address_detection_is_done() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |network| {
        // A device that is down does not begin to detect.
        network.0.link().add(LinkVeth::new("veth0", "veth1").index(BRIDGE).build()).execute().await.unwrap();
        network.0.address().add(BRIDGE, "fd00::1".parse().unwrap(), 64).execute().await.unwrap();
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, [""; 0]);
        network.add(BRIDGE, "10.0.0.1").await;
        assert_eq!(next(&mut watch).await, ["10.0.0.1"]);
        for name in ["veth0", "veth1"] {
            network.0.link().change(LinkUnspec::new_with_name(name).up().build()).execute().await.unwrap();
        }
        assert_eq!(next(&mut watch).await, ["10.0.0.1", "fd00::1"], "and nothing of fe80::/10");
    });
}

#[test]
fn a_reader_that_falls_far_behind_ends_up_with_the_truth_and_hears_what_comes_after() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    in_namespace(async |network| {
        network.bridge("br0", BRIDGE).await;
        let mut watch = watch_addresses().unwrap();
        assert_eq!(next(&mut watch).await, [""; 0]);
        // Nobody reads while this goes on.
        let addr = |number: u32| Ipv4Addr::from_bits(0x0a00_0001 + (number << 8)).to_string();
        for number in 0..MANY {
            network.add(BRIDGE, &addr(number)).await;
            if number % 2 == 0 {
                network.remove(BRIDGE, &addr(number)).await;
            }
        }
        let left: Vec<String> = (0..MANY).filter(|number| number % 2 == 1).map(addr).collect();
        let left = set(&left.iter().map(String::as_str).collect::<Vec<_>>());
        while watch.next().await.unwrap().own != left {}
        network.add(BRIDGE, "192.0.2.1").await;
        let more: BTreeSet<IpAddr> = left.into_iter().chain(set(&["192.0.2.1"])).collect();
        assert_eq!(watch.next().await.unwrap().own, more);
    });
}
