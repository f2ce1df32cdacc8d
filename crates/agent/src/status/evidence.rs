//! What decides a packet, and nothing else of a cluster: as documents, for whoever wants to put it to other programs than this
//! agent's rules, and as what is wanted of it.
use crate::admin::Evidence;
use serde_json::{Value, json};
use sheave_core::decide::concerns;
use sheave_core::{Desired, DetectLocal, Event, Index, NodePortAddresses, Object, Packet, ProxyConfig};
use sheave_kube_source::render::render;

/// Everything `decide` may look at for this packet. Cost: a look at every Service.
pub(super) fn evidence(index: &Index, config: &ProxyConfig, packet: &Packet) -> Evidence {
    Evidence {
        node: index.node_name().to_owned(),
        addresses: index.own_addresses().collect(),
        config: settings(config),
        objects: concerned(index, packet).map(|object| render(&object)).collect(),
    }
}

/// What would be wanted of the Services that a packet concerns. Cost: a look at every Service.
pub(super) fn wanted(index: &Index, config: &ProxyConfig, packet: &Packet) -> Desired {
    let mut few = Index::new(index.node_name());
    few.apply(Event::LocalAddresses(index.device_addresses().collect()));
    concerned(index, packet).for_each(|object| few.apply(Event::Applied(object)));
    Desired::rebuild(config.clone(), &few)
}

fn concerned<'a>(index: &'a Index, packet: &Packet) -> impl Iterator<Item = Object> + use<'a> {
    let node = index.node().cloned().map(Object::Node);
    let cidrs = index.service_cidrs().cloned().map(Object::ServiceCidr);
    let services = index.services_where(|service| concerns(service, packet)).into_iter().flat_map(|service| {
        let slices = index.slices(&service.name).cloned().map(Object::EndpointSlice);
        std::iter::once(Object::Service(service.clone())).chain(slices)
    });
    node.into_iter().chain(cidrs).chain(services)
}

/// The settings as [`crate::config::Config::parse`] reads them.
fn settings(config: &ProxyConfig) -> Vec<Value> {
    let ProxyConfig { masquerade_all, detect_local, node_port_addresses, external_ips } = config;
    let texts = |cidrs: &[ipnet::IpNet]| cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (mode, cidr, local) = match detect_local {
        DetectLocal::ClusterCidr(cidrs) => ("ClusterCIDR", texts(cidrs).join(","), json!({})),
        DetectLocal::NodeCidr => ("NodeCIDR", String::new(), json!({})),
        DetectLocal::BridgeInterface(name) => ("BridgeInterface", String::new(), json!({ "bridgeInterface": &**name })),
        DetectLocal::InterfaceNamePrefix(prefix) => {
            ("InterfaceNamePrefix", String::new(), json!({ "interfaceNamePrefix": &**prefix }))
        }
    };
    let node_ports = match node_port_addresses {
        NodePortAddresses::Primary => vec!["primary".to_owned()],
        NodePortAddresses::Cidrs(cidrs) => texts(cidrs),
    };
    vec![
        json!({ "apiVersion": "sheave.dev/v1alpha1", "kind": "SheaveConfiguration", "externalIPs": external_ips }),
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "detectLocalMode": mode, "clusterCIDR": cidr, "detectLocal": local,
            "nodePortAddresses": node_ports, "iptables": { "masqueradeAll": masquerade_all },
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn the_settings_mean_the_same_when_they_are_read_again() {
        let cidrs = |cidrs: &[&str]| cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect::<Vec<_>>();
        let default = ProxyConfig::default;
        for config in [
            default(),
            ProxyConfig { masquerade_all: true, external_ips: false, ..default() },
            ProxyConfig { detect_local: DetectLocal::ClusterCidr(cidrs(&["10.244.0.0/16", "fd00::/48"])), ..default() },
            ProxyConfig { detect_local: DetectLocal::NodeCidr, ..default() },
            ProxyConfig { detect_local: DetectLocal::BridgeInterface("cni0".into()), ..default() },
            ProxyConfig { detect_local: DetectLocal::InterfaceNamePrefix("veth".into()), ..default() },
            ProxyConfig {
                node_port_addresses: NodePortAddresses::Cidrs(cidrs(&["192.0.2.0/24", "::/0"])),
                ..default()
            },
        ] {
            let documents: Vec<_> = settings(&config).iter().map(ToString::to_string).collect();
            let read = Config::parse(&documents.join("\n---\n"), Path::new("evidence")).unwrap().proxy();
            assert_eq!(read, config);
        }
    }
}
