//! Which flows of another translator are flows to Services of ours.
use super::Whose;
use crate::image::Image;
use sheave_abi::{BackendId, ServiceId};
use sheave_core::{Backend, FlatMap, ForeignFlow, Frontend, Port};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Finds them, by what the maps hold.
#[derive(Debug)]
pub(super) struct Finder<'a> {
    image: &'a Image,
    members: HashMap<ServiceId, FlatMap<Backend, BackendId>>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self { image, members: HashMap::new() }
    }

    /// Whose the flow is. The outer `None`: it dials no frontend of ours. The inner one: its backend is none of that Service that
    /// serves, so that its next packet is to be decided anew (L2).
    pub(super) fn find(&mut self, flow: &ForeignFlow) -> Option<Option<Whose>> {
        let ForeignFlow { protocol, dialled, backend, .. } = *flow;
        let service = self.service(&Frontend { addr: dialled.ip(), port: Port::new(dialled.port())?, protocol })?;
        Some(self.backend(service, backend).map(|backend| Whose { service, backend }))
    }

    /// Whose a destination is: an exact frontend goes before a NodePort (X1).
    fn service(&self, dialled: &Frontend) -> Option<ServiceId> {
        let exact = self.image.leads_to(dialled);
        let accepts = || self.image.addrs().get(&dialled.addr).is_some_and(|uses| uses.node_ports);
        let led = exact.or_else(|| accepts().then(|| self.image.leads_to(&dialled.at_any_address())).flatten());
        led.map(|(service, _)| service)
    }

    fn backend(&mut self, service: ServiceId, backend: SocketAddr) -> Option<BackendId> {
        let backend = Backend { addr: backend.ip(), port: Port::new(backend.port())? };
        let members = self.members.entry(service).or_insert_with(|| self.image.members(service));
        members.get(&backend).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{AddrUse, BackendEntry, MapOp, ServiceEntry};
    use sheave_core::{Family, FrontendKind, Protocol, ServiceKey, ServiceName, ServicePortName};
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn id(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn frontend(text: &str) -> Frontend {
        let addr: SocketAddr = text.parse().unwrap();
        Frontend { addr: addr.ip(), port: Port::new(addr.port()).unwrap(), protocol: Protocol::Udp }
    }

    /// One Service with a ClusterIP, a NodePort and a backend, on a node that accepts NodePorts at one of its two addresses.
    fn image() -> Image {
        let mut image = Image::default();
        let service = ServiceId(id(5));
        let name =
            ServicePortName { service: ServiceName::new("test", "dns"), port: "dns".into(), protocol: Protocol::Udp };
        let backend = Backend { addr: "10.1.0.2".parse().unwrap(), port: Port::new(5353).unwrap() };
        let entry = BackendEntry { backend, service, serving: true, in_cluster: true, in_local: false };
        let uses = |node_ports| AddrUse { own: true, node_ports };
        let lead = |text: &str, kind| MapOp::PutFrontend { frontend: frontend(text), kind, service };
        for op in [
            MapOp::PutName { service, key: ServiceKey { port: name, family: Family::V4 } },
            MapOp::WriteBackends { family: Family::V4, entries: vec![(BackendId(id(3)), entry)] },
            MapOp::WriteService { service, entry: ServiceEntry::default() },
            lead("10.96.0.10:53", FrontendKind::ClusterIp),
            lead("0.0.0.0:30053", FrontendKind::NodePort),
            MapOp::PutAddr { addr: "172.30.0.1".parse().unwrap(), uses: uses(true) },
            MapOp::PutAddr { addr: "172.30.9.1".parse().unwrap(), uses: uses(false) },
        ] {
            image.commit(&op);
        }
        image
    }

    /// L2, A5
    #[test]
    fn a_flow_is_ours_by_its_frontend_and_goes_on_by_its_backend() {
        let image = image();
        let mut finder = Finder::new(&image);
        for (name, protocol, dialled, backend, want) in [
            ("ClusterIP", Protocol::Udp, "10.96.0.10:53", "10.1.0.2:5353", Some(true)),
            ("NodePort", Protocol::Udp, "172.30.0.1:30053", "10.1.0.2:5353", Some(true)),
            ("NodePort where none is accepted", Protocol::Udp, "172.30.9.1:30053", "10.1.0.2:5353", None),
            ("its endpoint has gone", Protocol::Udp, "10.96.0.10:53", "10.1.0.9:5353", Some(false)),
            ("its target port has changed (L7)", Protocol::Udp, "10.96.0.10:53", "10.1.0.2:53", Some(false)),
            ("another protocol", Protocol::Tcp, "10.96.0.10:53", "10.1.0.2:5353", None),
            ("nobody's", Protocol::Udp, "10.96.0.11:53", "10.1.0.2:5353", None),
        ] {
            let remaining = Duration::from_secs(20);
            let [client, dialled, backend] = ["10.1.0.1:4000", dialled, backend].map(|end| end.parse().unwrap());
            let flow = ForeignFlow {
                protocol,
                client,
                dialled,
                backend,
                source: client,
                opening: false,
                assured: true,
                remaining,
            };
            let found = finder.find(&flow);
            assert_eq!(found.map(|found| found.is_some()), want, "case: {name}");
            let ids = found.flatten().map(|whose| (whose.backend.0.get(), whose.service.0.get()));
            assert!(ids.is_none_or(|ids| ids == (3, 5)), "case: {name}: {ids:?}");
        }
    }
}
