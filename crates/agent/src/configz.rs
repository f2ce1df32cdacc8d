//! What `/configz` shows (H4): the configuration in force, under the names of the two documents it came from.
use crate::config::{Config, KubeProxy, SocketLb};
use serde_json::{Map, Value, json};
use sheave_core::{DetectLocal, NodePortAddresses};

/// As JSON; the first key is the one under which kube-proxy shows its own.
pub(crate) fn shown(config: &Config) -> String {
    let shown = json!({"kubeproxy.config.k8s.io": kube_proxy(&config.kube_proxy), "sheave.dev": own(config)});
    shown.to_string()
}

fn kube_proxy(config: &KubeProxy) -> Value {
    let address = |bind: Option<std::net::SocketAddr>| bind.map(|bind| bind.to_string()).unwrap_or_default();
    let node_port_addresses = match &config.node_port_addresses {
        NodePortAddresses::Primary => vec!["primary".to_owned()],
        NodePortAddresses::Cidrs(cidrs) => cidrs.iter().map(ToString::to_string).collect(),
    };
    let mut shown = json!({
        "mode": config.mode,
        "hostnameOverride": config.hostname_override.as_deref().unwrap_or_default(),
        "nftables": {"masqueradeAll": config.masquerade_all, "syncPeriod": format!("{}s", config.sync_period.as_secs_f64())},
        "nodePortAddresses": node_port_addresses,
        "healthzBindAddress": address(config.healthz_bind),
        "metricsBindAddress": address(config.metrics_bind),
        "bindAddressHardFail": config.bind_hard_fail,
    });
    if let Value::Object(shown) = &mut shown {
        shown.append(&mut detect_local(&config.detect_local));
    }
    shown
}

fn detect_local(detect: &DetectLocal) -> Map<String, Value> {
    let (mode, key, value) = match detect {
        DetectLocal::ClusterCidr(cidrs) => {
            let cidrs: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
            ("ClusterCIDR", "clusterCIDR", json!(cidrs.join(",")))
        }
        DetectLocal::NodeCidr => ("NodeCIDR", "clusterCIDR", json!("")),
        DetectLocal::BridgeInterface(name) => ("BridgeInterface", "detectLocal", json!({"bridgeInterface": &**name})),
        DetectLocal::InterfaceNamePrefix(prefix) => {
            ("InterfaceNamePrefix", "detectLocal", json!({"interfaceNamePrefix": &**prefix}))
        }
    };
    [("detectLocalMode".to_owned(), json!(mode)), (key.to_owned(), value)].into_iter().collect()
}

fn own(config: &Config) -> Value {
    let maps = &config.maps;
    let socket_lb = match config.socket_lb {
        SocketLb::All => "all",
        SocketLb::Host => "host",
        SocketLb::Off => "off",
    };
    json!({
        "dataplane": "ebpf",
        "nodeName": config.node_name,
        "source": config.source,
        "server": config.server,
        "bpffs": config.bpffs,
        "cgroup": config.cgroup,
        "adminSocket": config.admin_socket,
        "socketLB": socket_lb,
        "externalIPs": config.external_ips,
        "maps": {
            "frontendsMax": maps.frontends_max, "servicesMax": maps.services_max, "slotsMax": maps.slots_max,
            "backendsMax": maps.backends_max, "flowsMax": maps.flows_max,
        },
    })
}
