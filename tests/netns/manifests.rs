//! Manifests of Services, written where the agent reads them.
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A port: its name, its protocol as Kubernetes writes it, its number at the Service and at the endpoints.
#[derive(Clone, Copy)]
pub(crate) struct PortSpec(pub(crate) &'static str, pub(crate) &'static str, pub(crate) u16, pub(crate) u16);

/// A Service and its endpoints, all of them ready.
#[derive(Clone)]
pub(crate) struct ServiceSpec {
    pub(crate) name: &'static str,
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ports: Vec<PortSpec>,
    /// Address and node.
    pub(crate) endpoints: Vec<(IpAddr, &'static str)>,
}

impl ServiceSpec {
    /// What a client dials: each address with each port.
    pub(crate) fn frontends(&self) -> Vec<(SocketAddr, PortSpec)> {
        let at = |&vip: &IpAddr| self.ports.iter().map(move |&port| (SocketAddr::new(vip, port.2), port));
        self.vips.iter().flat_map(at).collect()
    }

    fn service(&self) -> Value {
        let ports = self
            .ports
            .iter()
            .map(|PortSpec(name, protocol, port, _)| json!({"name": name, "protocol": protocol, "port": port}));
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": "test"},
            "spec": {
                "type": "ClusterIP", "clusterIP": self.vips[0].to_string(),
                "clusterIPs": self.vips.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
                "ports": ports.collect::<Vec<_>>(),
            },
        })
    }

    /// One slice for each family, as the control plane makes them (W4).
    fn slices(&self) -> impl Iterator<Item = Value> {
        [("IPv4", true), ("IPv6", false)].into_iter().map(|(family, v4)| {
            let endpoints = self.endpoints.iter().filter(|(addr, _)| addr.is_ipv4() == v4).map(|(addr, node)| {
                json!({"addresses": [addr.to_string()], "nodeName": node, "conditions": {"ready": true}})
            });
            let ports = self
                .ports
                .iter()
                .map(|PortSpec(name, protocol, _, target)| json!({"name": name, "protocol": protocol, "port": target}));
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-{}", self.name, family.to_lowercase()), "namespace": "test",
                    "labels": {"kubernetes.io/service-name": self.name},
                },
                "addressType": family,
                "ports": ports.collect::<Vec<_>>(),
                "endpoints": endpoints.collect::<Vec<_>>(),
            })
        })
    }
}

/// Writes a Service to a file of its own. The file is complete whenever it is read: it is renamed into place.
pub(crate) fn write(directory: &Path, spec: &ServiceSpec) {
    let items: Vec<Value> = [spec.service()].into_iter().chain(spec.slices()).collect();
    put(directory, spec.name, &items);
}

/// Takes a Service's file away.
pub(crate) fn remove(directory: &Path, spec: &ServiceSpec) {
    fs::remove_file(directory.join(format!("{}.json", spec.name))).unwrap();
}

/// Writes the nodes.
pub(crate) fn write_nodes<'a>(directory: &Path, nodes: impl Iterator<Item = (&'a str, &'a [IpAddr])>) {
    let node = |(name, addrs): (&str, &[IpAddr])| {
        let addresses = addrs.iter().map(|addr| json!({"type": "InternalIP", "address": addr.to_string()}));
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name}, "status": {"addresses": addresses.collect::<Vec<_>>()},
        })
    };
    put(directory, "nodes", &nodes.map(node).collect::<Vec<_>>());
}

/// Writes objects to a file of theirs.
pub(crate) fn put(directory: &Path, name: &str, items: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let (unfinished, path) = (directory.join(format!(".{name}.tmp")), directory.join(format!("{name}.json")));
    fs::write(&unfinished, list.to_string()).unwrap();
    fs::rename(unfinished, path).unwrap();
}
