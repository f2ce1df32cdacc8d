//! Follows the node's own addresses, and tells all of them whenever the set is another.
use crate::address::Assignment;
use crate::feed::{Feed, Subject, Told, WatchError};
use crate::link::LinkIndex;
use crate::notice::News;
use std::collections::BTreeSet;
use std::future::ready;
use std::net::IpAddr;

/// Devices that hold VIPs and nothing else, whatever they are made of: kube-proxy's IPVS mode puts every VIP on the first
/// (pkg/proxy/ipvs/proxier.go, defaultDummyDevice), an IPVS dataplane of ours on the second. An address there does not say
/// that the node answers itself (A12).
const VIP_DEVICES: [&str; 2] = ["kube-ipvs0", "sheave-ipvs0"];

/// The addresses of a node, as sets.
pub struct AddressWatch {
    feed: Feed,
    table: AddressTable,
}

impl AddressWatch {
    /// The node's addresses on all devices: at first those that are there, may be none, then each time the set is another.
    /// Many changes at once are told once, and what came and went meanwhile is not told. Left out are loopback and IPv6
    /// link-local addresses (fe80::/10), which are no addresses of the node to anybody else; those that duplicate address
    /// detection has not settled, or has settled against the node; and devices that only hold VIPs. IPv4 link-local
    /// addresses stay: node-local DNS answers at 169.254.20.10. Whether a device is up does not matter, as the kernel
    /// delivers to its IPv4 addresses all the same. Dropped before it is ready and called again, it loses nothing.
    ///
    /// # Errors
    /// The socket is of no use any more; watch again.
    pub async fn next(&mut self) -> Result<BTreeSet<IpAddr>, WatchError> {
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

/// What is on the devices, and what was told of it.
#[derive(Default)]
struct AddressTable {
    assignments: BTreeSet<Assignment>,
    vip_devices: BTreeSet<LinkIndex>,
    listing: Listing,
    touched: bool,
    last_told: Option<BTreeSet<IpAddr>>,
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
                self.assignments.retain(|assignment| assignment.index != index);
                self.touched |= self.assignments.len() != before;
                self.vip_devices.remove(&index);
            }
            Told::News(News::Address(assignment)) => {
                self.touched |= self.assignments.insert(assignment) && self.counts(&assignment);
            }
            Told::News(News::AddressGone(assignment)) => {
                self.touched |= self.assignments.remove(&assignment) && self.counts(&assignment);
            }
        }
    }

    /// Whether there may be news, and all of it is known.
    fn touched(&self) -> bool {
        self.touched && self.listing == Listing::Done
    }

    /// The addresses, if they are others than last time.
    fn news(&mut self) -> Option<BTreeSet<IpAddr>> {
        self.touched = false;
        let own = self.assignments.iter().filter(|assignment| self.counts(assignment));
        let own: BTreeSet<IpAddr> = own.map(|assignment| assignment.addr).collect();
        let told = self.last_told.as_ref() == Some(&own);
        (!told).then(|| self.last_told.insert(own).clone())
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
        let (kind, upper) = (LinkKind::Other("dummy".to_owned()), Upper::None);
        Told::News(News::Link(Link { index, name, kind, upper, layer: Layer::Ethernet, mac: None }))
    }

    fn add(index: u32, addr: &str) -> Told {
        Told::News(News::Address(assigned(index, addr)))
    }

    fn remove(index: u32, addr: &str) -> Told {
        Told::News(News::AddressGone(assigned(index, addr)))
    }

    /// Takes in what is at hand at once, and tells what there is to tell.
    fn told(table: &mut AddressTable, at_once: impl IntoIterator<Item = Told>) -> Option<String> {
        at_once.into_iter().for_each(|told| table.take(told));
        let news = table.touched().then(|| table.news()).flatten();
        news.map(|set| set.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
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
        assert_eq!(told(&mut table, [Told::News(News::Address(short))]), None);
        assert_eq!(told(&mut table, [remove(2, "10.0.0.1")]), None);
        assert_eq!(told(&mut table, [remove(3, "10.0.0.1")]), None, "the device has it with another prefix");
        assert_eq!(told(&mut table, [Told::News(News::AddressGone(short))]).as_deref(), Some(""));
    }
}
