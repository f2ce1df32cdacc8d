//! What the one who asks may have meant instead.
use super::Observed;
use sheave_core::decide::Transport;
use sheave_core::{Family, Index, NodeRules, ObjectName, Packet, Service, ServiceName, ServicePort};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// More would not be read.
const TOLD_MAX: usize = 5;
/// In how many letters a name may differ.
const LETTERS_MAX: usize = 2;

/// Sentences for a packet that no frontend takes.
pub(super) fn of_packet(packet: &Packet, index: &Index, rules: &NodeRules) -> Vec<String> {
    let here = index.services_where(|service| service.addresses().any(|addr| addr == packet.destination));
    if !here.is_empty() {
        let ping = if packet.transport == Transport::Echo { "a Service answers at its ports only: " } else { "" };
        return here.into_iter().map(|service| format!("{ping}{} has {}", service.name, ports(service))).collect();
    }
    if let Some(service) = index.services_where(|service| is_endpoint(&service.name, packet.destination, index)).first()
    {
        return vec![format!(
            "{} is an endpoint of {}: who dials it goes there without any Service",
            packet.destination, service.name
        )];
    }
    let node_ports = index.services_where(|service| has_node_port(service, packet));
    let node_ports: Vec<_> = node_ports.into_iter().map(|service| &service.name).collect();
    let node_ports = (!node_ports.is_empty()).then(|| {
        format!("a NodePort of {}, dialled at {}", listed(node_ports), node_port_addresses(packet, index, rules))
    });
    node_ports.into_iter().chain(same_port(packet, index)).collect()
}

/// Where else the port is served, unless that is nearly everywhere: every other Service has port 80.
fn same_port(packet: &Packet, index: &Index) -> Option<String> {
    let has_it = |service: &Service| at_port(service, packet).next().is_some();
    if index.count_where(has_it) > TOLD_MAX {
        return None;
    }
    let frontends =
        |service: &Service| at_port(service, packet).map(|at| format!("{at} of {}", service.name)).collect::<Vec<_>>();
    let found: Vec<_> = index.services_where(has_it).into_iter().flat_map(frontends).collect();
    (1..=TOLD_MAX).contains(&found.len()).then(|| format!("with this port: {}", listed(found)))
}

/// Where clients of elsewhere dial NodePorts of the packet's family.
fn node_port_addresses(packet: &Packet, index: &Index, rules: &NodeRules) -> String {
    let of_family = |addr: &&IpAddr| Family::of(**addr) == Family::of(packet.destination);
    let at: Vec<_> = rules.node_port_addrs.iter().filter(of_family).filter(|addr| !addr.is_loopback()).collect();
    let at = if at.is_empty() { "no address".to_owned() } else { listed(at) };
    format!("{at} of {}", index.node_name())
}

fn ports(service: &Service) -> String {
    let port = |port: &ServicePort| {
        let name = if port.name.is_empty() { String::new() } else { format!(" ({})", port.name) };
        format!("{}/{}{name}", port.port, port.protocol)
    };
    match &service.ports[..] {
        [] => "no ports".to_owned(),
        [only] => format!("the port {}", port(only)),
        several => format!("the ports {}", listed(several.iter().map(port).collect())),
    }
}

fn is_endpoint(service: &ServiceName, addr: IpAddr, index: &Index) -> bool {
    index.slices(service).flat_map(|slice| &slice.endpoints).any(|endpoint| endpoint.addr == addr)
}

/// Frontends of a Service that have the packet's port, as a client would dial them.
fn at_port(service: &Service, packet: &Packet) -> impl Iterator<Item = SocketAddr> {
    let wanted = match packet.transport {
        Transport::Port(protocol, number) => Some((protocol, number)),
        Transport::Echo => None,
    };
    let family = Family::of(packet.destination);
    let dialled = service.ports.iter().filter(move |port| Some((port.protocol, port.port.get())) == wanted);
    dialled.flat_map(move |port| {
        let of_family = service.addresses().filter(move |addr| Family::of(*addr) == family);
        of_family.map(move |addr| SocketAddr::new(addr, port.port.get()))
    })
}

fn has_node_port(service: &Service, packet: &Packet) -> bool {
    let Transport::Port(protocol, number) = packet.transport else { return false };
    let here = |port: &&ServicePort| port.node_port.is_some_and(|port| port.get() == number);
    service.ports.iter().filter(|port| port.protocol == protocol).any(|port| here(&port))
}

/// Services whose name is nearly this one: in another namespace, or with another letter.
pub(super) fn of_name(wanted: &ServiceName, observed: &Observed<'_>) -> Vec<String> {
    let index = observed.index;
    let alike = index.services_where(|service| distance(wanted, &service.name).is_some());
    let absent = observed.absent.keys().filter_map(|name| match name {
        ObjectName::Service(service) => Some(service),
        _ => None,
    });
    let names = alike.into_iter().map(|service| &service.name).chain(absent);
    let mut found: Vec<_> = names.filter_map(|name| Some((distance(wanted, name)?, name))).collect();
    found.sort();
    found.dedup();
    let found: Vec<_> = found.into_iter().map(|(_, name)| name).collect();
    (!found.is_empty()).then(|| listed(found)).into_iter().collect()
}

/// How far a name is from the wanted one; `None` where nobody would confuse them. A name that stands in the other counts as
/// one letter: `kube-dns` for `dns`.
fn distance(wanted: &ServiceName, name: &ServiceName) -> Option<usize> {
    let names = match wanted.name.contains(&*name.name) || name.name.contains(&*wanted.name) {
        true => usize::from(wanted.name != name.name),
        false => letters(&wanted.name, &name.name)?,
    };
    match names {
        0 => Some(strsim::osa_distance(&wanted.namespace, &name.namespace)),
        _ => Some(names + letters(&wanted.namespace, &name.namespace)?),
    }
}

/// In how many letters two words differ, if in few.
fn letters(wanted: &str, word: &str) -> Option<usize> {
    may_be_alike(wanted, word).then(|| strsim::osa_distance(wanted, word)).filter(|letters| *letters <= LETTERS_MAX)
}

/// A letter put in, left out or taken for another changes by two at most how many there are of each; two exchanged change nothing.
/// So most words need not be compared letter by letter, and there may be a hundred thousand of them.
fn may_be_alike(wanted: &str, word: &str) -> bool {
    let mut surplus = [0_i32; 256];
    wanted.bytes().for_each(|letter| surplus[usize::from(letter)] += 1);
    word.bytes().for_each(|letter| surplus[usize::from(letter)] -= 1);
    let differing: u32 = surplus.iter().map(|surplus| surplus.unsigned_abs()).sum();
    // What is not ASCII has letters of several bytes; no Service is called so.
    differing as usize <= 2 * LETTERS_MAX || !wanted.is_ascii() || !word.is_ascii()
}

fn listed<T: Display>(found: Vec<T>) -> String {
    let more = found.len().saturating_sub(TOLD_MAX);
    let mut told: Vec<_> = found.into_iter().take(TOLD_MAX).map(|found| found.to_string()).collect();
    told.extend((more > 0).then(|| format!("{more} more")));
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_like_another_that_somebody_may_have_meant() {
        let name = |text: &str| {
            let (namespace, name) = text.split_once('/').unwrap();
            ServiceName::new(namespace, name)
        };
        for (wanted, held, want) in [
            ("shop/web", "shop/web", Some(0)),
            ("shop/web", "shop/wbe", Some(1)),
            ("shop/web", "shop/ebw", Some(2)),
            ("shop/web", "shop/api", None),
            ("shop/web", "default/web", Some(7)),
            ("shop/web", "default/webs", None),
            ("shop/web", "shoq/webs", Some(2)),
            ("kube-system/dns", "kube-system/kube-dns", Some(1)),
            ("shop/wéb", "shop/web", Some(1)),
        ] {
            assert_eq!(distance(&name(wanted), &name(held)), want, "{wanted} and {held}");
        }
    }

    proptest! {
        #[test]
        fn no_word_that_differs_in_few_letters_is_passed_over(wanted in "[a-c-]{0,8}", word in "[a-c-]{0,8}") {
            let letters_of_all = strsim::osa_distance(&wanted, &word);
            prop_assert_eq!(letters(&wanted, &word), (letters_of_all <= LETTERS_MAX).then_some(letters_of_all));
        }
    }
}
