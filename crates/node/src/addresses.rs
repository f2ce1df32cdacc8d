//! Follows the node's own addresses, and tells all of them whenever something about them is different.
use crate::address::{Assignment, Use};
use crate::feed::{Feed, Subject, Told, WatchError};
use crate::link::LinkIndex;
use crate::notice::News;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::net::IpAddr;

/// Devices that hold VIPs and nothing else, whatever they are made of: kube-proxy's IPVS mode puts every VIP on the first
/// (pkg/proxy/ipvs/proxier.go, defaultDummyDevice), an IPVS dataplane of ours on the second. An address there does not say
/// that the node answers itself (A12).
const VIP_DEVICES: [&str; 2] = ["kube-ipvs0", "sheave-ipvs0"];

/// The addresses of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeAddresses {
    /// At which the node answers.
    pub own: BTreeSet<IpAddr>,
    /// Those of them that the node sends from by itself, by the device that has them. Those of IPv4 stand in the kernel's
    /// order, in which it chooses among them.
    pub sources: BTreeMap<LinkIndex, Vec<SourceAddr>>,
}

/// An address that the node sends from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SourceAddr {
    /// The address.
    pub addr: IpAddr,
    /// Bits of its subnet.
    pub prefix_len: u8,
}

/// The addresses of a node, as they come and go.
pub struct AddressWatch {
    feed: Feed,
    table: AddressTable,
}

impl AddressWatch {
    /// The node's addresses on all devices: at first those that are there, may be none, then each time they are others.
    /// Many changes at once are told once, and what came and went meanwhile is not told. Left out are loopback and IPv6
    /// link-local addresses (fe80::/10), which are no addresses of the node to anybody else; those that duplicate address
    /// detection has not settled, or has settled against the node; and devices that only hold VIPs. IPv4 link-local
    /// addresses stay: node-local DNS answers at 169.254.20.10. Whether a device is up does not matter, as the kernel
    /// delivers to its IPv4 addresses all the same. Dropped before it is ready and called again, it loses nothing.
    ///
    /// # Errors
    /// The socket is of no use any more; watch again.
    pub async fn next(&mut self) -> Result<NodeAddresses, WatchError> {
        loop {
            tokio::select! {
                biased;
                told = self.feed.next() => told?.into_iter().for_each(|told| self.table.take(told)),
                // Nothing more is at hand.
                () = ready(()), if self.table.touched() => {
                    if let Some(addresses) = self.table.news() {
                        return Ok(addresses);
                    }
                }
            }
        }
    }
}

/// Follows the addresses of the calling thread's network namespace.
///
/// # Errors
/// The socket cannot be opened.
pub fn watch_addresses() -> Result<AddressWatch, WatchError> {
    // Devices first: which of them hold VIPs is told by their names.
    let feed = Feed::open(&[Subject::Links, Subject::Addresses])?;
    Ok(AddressWatch { feed, table: AddressTable::default() })
}

/// The addresses that devices and addresses amount to, in the order in which the kernel lists them.
pub(crate) fn addresses_of(listed: impl IntoIterator<Item = News>) -> NodeAddresses {
    let mut table = AddressTable::default();
    listed.into_iter().for_each(|news| table.take(Told::News(news)));
    table.addresses()
}

/// What is on the devices, and what was told of it.
#[derive(Default)]
struct AddressTable {
    assignments: BTreeMap<Assignment, Held>,
    /// How many assignments there have been.
    count: u64,
    vip_devices: BTreeSet<LinkIndex>,
    listing: Listing,
    touched: bool,
    last_told: Option<NodeAddresses>,
}

/// How a device has an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    used: Use,
    /// How many came before it. The kernel appends an IPv4 address to its device's (net/ipv4/devinet.c, __inet_insert_ifa)
    /// and lists them in that order.
    rank: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Listing {
    #[default]
    Running,
    Done,
}

impl AddressTable {
    fn take(&mut self, told: Told) {
        match told {
            Told::Begun => {
                self.assignments.clear();
                self.vip_devices.clear();
                self.listing = Listing::Running;
            }
            Told::Settled => {
                self.listing = Listing::Done;
                self.touched = true;
            }
            Told::News(News::Link(link)) => {
                self.touched |= match VIP_DEVICES.contains(&link.name.as_str()) {
                    true => self.vip_devices.insert(link.index),
                    false => self.vip_devices.remove(&link.index),
                };
            }
            Told::News(News::LinkGone(index)) => {
                let before = self.assignments.len();
                self.assignments.retain(|assignment, _| assignment.index != index);
                self.touched |= self.assignments.len() != before;
                self.vip_devices.remove(&index);
            }
            Told::News(News::Address(assignment, used)) => {
                self.touched |= self.put(assignment, used) && self.counts(&assignment);
            }
            Told::News(News::AddressGone(assignment)) => {
                self.touched |= self.assignments.remove(&assignment).is_some() && self.counts(&assignment);
            }
        }
    }

    /// Whether there may be news, and all of it is known.
    fn touched(&self) -> bool {
        self.touched && self.listing == Listing::Done
    }

    /// The addresses, if they are others than last time.
    fn news(&mut self) -> Option<NodeAddresses> {
        self.touched = false;
        let now = self.addresses();
        let told = self.last_told.as_ref() == Some(&now);
        (!told).then(|| self.last_told.insert(now).clone())
    }

    fn addresses(&self) -> NodeAddresses {
        let mut addresses = NodeAddresses::default();
        let mut held: Vec<_> = self.assignments.iter().filter(|(assignment, _)| self.counts(assignment)).collect();
        held.sort_by_key(|(_, held)| held.rank);
        for (&Assignment { index, addr, prefix_len, .. }, held) in held {
            addresses.own.insert(addr);
            if held.used == Use::Source {
                addresses.sources.entry(index).or_default().push(SourceAddr { addr, prefix_len });
            }
        }
        addresses
    }

    /// Takes an address, new or known, and says whether anything is different.
    fn put(&mut self, assignment: Assignment, used: Use) -> bool {
        let known = self.assignments.get(&assignment);
        let rank = known.map_or(self.count, |held| held.rank);
        let held = Held { used, rank };
        let differs = known != Some(&held);
        self.count += u64::from(known.is_none());
        self.assignments.insert(assignment, held);
        differs
    }

    fn counts(&self, assignment: &Assignment) -> bool {
        let link_local = match assignment.addr {
            IpAddr::V4(_) => false,
            IpAddr::V6(addr) => addr.is_unicast_link_local(),
        };
        !link_local && !assignment.addr.is_loopback() && !self.vip_devices.contains(&assignment.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::tests::{alone, assigned};
    use crate::link::{Layer, Link, LinkKind, Upper};

    fn link(index: u32, name: &str) -> Told {
        let (index, name) = (LinkIndex::new(index), name.to_owned());
        let (kind, upper, layer) = (LinkKind::Other("dummy".to_owned()), Upper::None, Layer::Ethernet);
        let link = Link { index, name, kind, upper, layer, mac: None, xdp_program: None, peer_netns: None };
        Told::News(News::Link(link))
    }

    fn add(index: u32, addr: &str) -> Told {
        Told::News(News::Address(assigned(index, addr), Use::Source))
    }

    fn remove(index: u32, addr: &str) -> Told {
        Told::News(News::AddressGone(assigned(index, addr)))
    }

    /// Takes in what is at hand at once.
    fn news(table: &mut AddressTable, at_once: impl IntoIterator<Item = Told>) -> Option<NodeAddresses> {
        at_once.into_iter().for_each(|told| table.take(told));
        table.touched().then(|| table.news()).flatten()
    }

    /// Takes in what is at hand at once, and tells at which addresses the node answers, if there is anything to tell.
    fn told(table: &mut AddressTable, at_once: impl IntoIterator<Item = Told>) -> Option<String> {
        news(table, at_once)
            .map(|NodeAddresses { own: set, .. }| set.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
    }

    fn settled(listed: impl IntoIterator<Item = Told>) -> AddressTable {
        let mut table = AddressTable::default();
        let listing = [Told::Begun].into_iter().chain(listed).chain([Told::Settled]);
        assert!(told(&mut table, listing).is_some(), "the first set is told");
        table
    }

    #[test]
    fn a_set_is_told_when_it_is_complete_and_then_when_it_is_another() {
        let mut table = AddressTable::default();
        let mut step = |at_once: Vec<Told>| told(&mut table, at_once);
        assert_eq!(step(vec![Told::Begun, link(2, "eth0"), add(2, "10.0.0.1")]), None, "there may be more");
        assert_eq!(step(vec![add(2, "fd00::1"), Told::Settled]).as_deref(), Some("10.0.0.1 fd00::1"));
        assert_eq!(step(vec![add(2, "10.0.0.1")]), None, "the kernel repeats itself, for lifetimes");
        assert_eq!(step(vec![add(3, "10.0.0.9"), remove(3, "10.0.0.9")]), None, "came and went");
        assert_eq!(step(vec![remove(2, "fd00::1"), add(2, "10.0.0.2")]).as_deref(), Some("10.0.0.1 10.0.0.2"));
        assert_eq!(step(vec![Told::Begun, remove(2, "10.0.0.2")]), None, "listed again, after a loss");
        assert_eq!(step(vec![add(2, "10.0.0.1"), Told::Settled]).as_deref(), Some("10.0.0.1"));
        assert_eq!(step(vec![Told::Begun, add(2, "10.0.0.1"), Told::Settled]), None, "the same as before the loss");
        assert_eq!(step(vec![remove(2, "10.0.0.1")]).as_deref(), Some(""));
    }

    #[test]
    fn a_node_without_addresses_says_so() {
        let mut table = AddressTable::default();
        let listed = [Told::Begun, add(1, "127.0.0.1"), add(1, "::1"), add(2, "fe80::1"), Told::Settled];
        assert_eq!(told(&mut table, listed).as_deref(), Some(""));
    }

    /// A5, A12
    #[test]
    fn loopback_link_local_and_addresses_of_vip_devices_are_not_the_nodes() {
        for (case, addr, counts) in [
            ("loopback", "127.0.0.53", false),
            ("IPv6 link-local", "fe80::1", false),
            ("the last of them", "febf::1", false),
            ("beside them", "fec0::1", true),
            ("node-local DNS", "169.254.20.10", true),
        ] {
            let mut table = settled([]);
            assert_eq!(told(&mut table, [add(2, addr)]).is_some(), counts, "case: {case}");
            assert_eq!(told(&mut table, [remove(2, addr)]).is_some(), counts, "case: {case}");
        }
        for (name, counts) in
            [("kube-ipvs0", false), ("sheave-ipvs0", false), ("nodelocaldns", true), ("lo", true), ("kube-ipvs", true)]
        {
            let mut table = settled([link(2, name)]);
            assert_eq!(told(&mut table, [add(2, "10.96.0.10")]).is_some(), counts, "{name}");
        }
    }

    #[test]
    fn a_device_holds_vips_for_as_long_as_it_has_the_name() {
        let mut table = settled([link(2, "kube-ipvs0"), add(2, "10.96.0.10")]);
        assert_eq!(told(&mut table, [link(2, "other")]).as_deref(), Some("10.96.0.10"));
        assert_eq!(told(&mut table, [link(2, "kube-ipvs0")]).as_deref(), Some(""));
        let gone = || Told::News(News::LinkGone(LinkIndex::new(2)));
        assert_eq!(told(&mut table, [gone()]), None, "with what was on it");
        assert_eq!(
            told(&mut table, [link(2, "eth0"), add(2, "10.0.0.1")]).as_deref(),
            Some("10.0.0.1"),
            "the index again"
        );
        assert_eq!(told(&mut table, [gone()]).as_deref(), Some(""));
    }

    #[test]
    fn an_address_that_is_there_several_times_goes_with_its_last() {
        let mut table = settled([add(2, "10.0.0.1"), add(3, "10.0.0.1")]);
        let short = alone(assigned(3, "10.0.0.1"));
        for (case, change, want) in [
            ("with another prefix", Told::News(News::Address(short, Use::Source)), "10.0.0.1"),
            ("the other device has it", remove(2, "10.0.0.1"), "10.0.0.1"),
            ("the device has it with the other prefix", remove(3, "10.0.0.1"), "10.0.0.1"),
            ("the last", Told::News(News::AddressGone(short)), ""),
        ] {
            assert_eq!(told(&mut table, [change]).as_deref(), Some(want), "case: {case}");
        }
    }

    /// The sources of device 2.
    fn sources(table: &mut AddressTable, change: Told) -> Option<Vec<String>> {
        let sources = news(table, [change])?.sources.remove(&LinkIndex::new(2)).unwrap_or_default();
        Some(sources.iter().map(|source| format!("{}/{}", source.addr, source.prefix_len)).collect())
    }

    #[test]
    fn a_device_sends_from_its_addresses_in_the_order_in_which_they_came_and_as_long_as_they_are_meant_for_it() {
        let mut table = settled([link(2, "eth0"), add(2, "10.0.0.9")]);
        let used = |addr, used| Told::News(News::Address(assigned(2, addr), used));
        let mut step = |change| sources(&mut table, change).map(|addrs| addrs.join(" "));
        assert_eq!(step(add(2, "10.0.1.1")).as_deref(), Some("10.0.0.9/24 10.0.1.1/24"));
        assert_eq!(step(used("10.0.0.8", Use::Destination)).as_deref(), Some("10.0.0.9/24 10.0.1.1/24"));
        assert_eq!(step(used("10.0.0.9", Use::Destination)).as_deref(), Some("10.0.1.1/24"));
        assert_eq!(step(used("10.0.0.9", Use::Destination)), None, "the kernel repeats itself, for lifetimes");
        assert_eq!(step(used("10.0.0.9", Use::Source)).as_deref(), Some("10.0.0.9/24 10.0.1.1/24"));
        assert_eq!(step(remove(2, "10.0.0.9")).as_deref(), Some("10.0.1.1/24"));
        assert_eq!(step(add(2, "10.0.0.9")).as_deref(), Some("10.0.1.1/24 10.0.0.9/24"), "to the end");
        assert_eq!(step(add(3, "10.0.0.1")).as_deref(), Some("10.0.1.1/24 10.0.0.9/24"), "another device");
    }
}
