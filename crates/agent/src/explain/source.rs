//! Where a source stands, in words: a pod of this node, the node, or elsewhere (R5).
use sheave_core::rules::LocalPods;
use sheave_core::treatment::Source;
use sheave_core::{DetectLocal, Family, Index, NodeRules, Packet, ProxyConfig};

/// One sentence without a full stop.
pub(super) fn standing(packet: &Packet, rules: &NodeRules, config: &ProxyConfig, index: &Index) -> String {
    let Packet { source, interface, .. } = packet;
    let (node, detector) = (index.node_name(), Detector { packet, rules, config });
    match Source::of(rules, *source, interface.as_deref()) {
        Source::LocalPod => format!("{source} counts as a pod of this node: {}", detector.matched()),
        Source::Node => format!("{source} is an address of this node ({node})"),
        Source::Outside => format!("{source} is outside: no address of {node}, and {}", detector.missed()),
    }
}

struct Detector<'a> {
    packet: &'a Packet,
    rules: &'a NodeRules,
    config: &'a ProxyConfig,
}

impl Detector<'_> {
    fn matched(&self) -> String {
        match &self.rules.local_pods {
            LocalPods::Cidr { .. } => {
                let others = match self.config.detect_local {
                    DetectLocal::ClusterCidr(_) => ", which holds the pods of all nodes",
                    _ => "",
                };
                format!("it is inside the {}{others}", self.cidr())
            }
            LocalPods::Interface(name) => format!("it comes in by the bridge {name}"),
            LocalPods::InterfacePrefix(prefix) => {
                let interface = self.packet.interface.as_deref().unwrap_or_default();
                format!("it comes in by {interface}, whose name begins with {prefix}")
            }
        }
    }

    fn missed(&self) -> String {
        let family = Family::of(self.packet.source);
        let by = |what: String| match self.packet.interface.as_deref() {
            Some(interface) => format!("it comes in by {interface}, not by {what}"),
            None => format!("pods of this node come in by {what}, but no device is named (--in-interface)"),
        };
        match &self.rules.local_pods {
            LocalPods::Cidr { .. } if self.rules.local_pods.detects(family) => {
                format!("not inside the {}", self.cidr())
            }
            LocalPods::Cidr { .. } => match self.config.detect_local {
                DetectLocal::NodeCidr => format!("pods cannot be told: the Node has no {family} CIDR in spec.podCIDRs"),
                _ => format!("pods cannot be told: the configuration has no {family} clusterCIDR (--config)"),
            },
            LocalPods::Interface(name) => by(format!("the bridge {name}")),
            LocalPods::InterfacePrefix(prefix) => by(format!("a device whose name begins with {prefix}")),
        }
    }

    fn setting(&self) -> &'static str {
        match self.config.detect_local {
            DetectLocal::NodeCidr => "spec.podCIDRs of the Node",
            _ => "clusterCIDR",
        }
    }

    fn cidr(&self) -> String {
        let LocalPods::Cidr { v4, v6 } = &self.rules.local_pods else { return String::new() };
        let of_family = if self.packet.source.is_ipv4() { v4 } else { v6 };
        of_family.map_or_else(String::new, |cidr| format!("{} {cidr}", self.setting()))
    }
}
