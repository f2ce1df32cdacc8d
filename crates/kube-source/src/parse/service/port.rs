//! Ports of Services, and what ports of slices share with them.
use crate::field::{Field, Findings};
use crate::parse::{LABEL_MAX, is_name};
use sheave_core::{Port, Protocol, ServicePort};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(super) fn ports(field: &Field<'_>, findings: &mut Findings) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    let mut taken = Taken::default();
    let fields: Vec<_> = field.list(findings).collect();
    for field in &fields {
        let Some(port) = service_port(field, findings) else { continue };
        if taken.holds(&port) {
            let message = format!(
                "a second port named {:?} or numbered {} for {}; only the first is served",
                port.name, port.port, port.protocol
            );
            findings.invalid(field, message);
        } else {
            taken.names.insert((port.name.clone(), port.protocol));
            taken.numbers.insert((port.port, port.protocol));
            let node_port = taken.node_port(&port, field, findings);
            ports.push(ServicePort { node_port, ..port });
        }
    }
    ports
}

/// What the ports before have: a list may be as long as its author likes.
#[derive(Default)]
struct Taken {
    names: HashSet<(Arc<str>, Protocol)>,
    numbers: HashSet<(Port, Protocol)>,
    /// By NodePort the name of the port that has it.
    node_ports: HashMap<(Port, Protocol), Arc<str>>,
}

impl Taken {
    fn holds(&self, port: &ServicePort) -> bool {
        self.names.contains(&(port.name.clone(), port.protocol)) || self.numbers.contains(&(port.port, port.protocol))
    }

    /// A port whose NodePort an earlier port has keeps its VIPs.
    fn node_port(&mut self, port: &ServicePort, field: &Field<'_>, findings: &mut Findings) -> Option<Port> {
        let node_port = port.node_port?;
        let Some(holder) = self.node_ports.get(&(node_port, port.protocol)) else {
            self.node_ports.insert((node_port, port.protocol), port.name.clone());
            return Some(node_port);
        };
        let message = format!(
            "port {holder:?} has NodePort {node_port} for {} already; this one is served at its VIPs only",
            port.protocol
        );
        findings.invalid(&field.get("nodePort"), message);
        None
    }
}

fn service_port(field: &Field<'_>, findings: &mut Findings) -> Option<ServicePort> {
    if !field.is_map() {
        field.map(findings);
        return None;
    }
    let (name, protocol) = name_and_protocol(field, findings)?;
    let number = field.get("port");
    let port = match number.port(findings) {
        None if number.is_unset() => {
            findings.invalid(&number, "missing; use 1 to 65535");
            None
        }
        port => port,
    }?;
    // kube-proxy reads the number whatever the Service's type (pkg/proxy/serviceport.go, newBaseServiceInfo); 0 is none (A9).
    let node_port = field.get("nodePort").port(findings);
    Some(ServicePort { name: name.into(), protocol, port, node_port })
}

/// What ports of Services and of slices have in common: an unset name is empty, an unset protocol TCP.
pub(in crate::parse) fn name_and_protocol<'a>(
    field: &'a Field<'_>,
    findings: &mut Findings,
) -> Option<(&'a str, Protocol)> {
    let (name, protocol) = (field.get("name"), field.get("protocol"));
    let text = name.text(findings).unwrap_or_default();
    if !text.is_empty() && !is_name(text, LABEL_MAX) {
        let message = format!("{} is no port name; use 1 to {LABEL_MAX} letters, digits and dashes", name.shown());
        findings.invalid(&name, message);
        return None;
    }
    match protocol.text(findings).unwrap_or("TCP").parse() {
        Ok(protocol) => Some((text, protocol)),
        Err(error) => {
            findings.invalid(&protocol, error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::service::tests::{read, with};
    use serde_json::{Value, json};

    fn ports(value: &Value) -> (Vec<String>, Vec<String>) {
        let (service, said) = read(&with(&json!({"ports": value})), &json!(null));
        let shown = |port: &sheave_core::ServicePort| {
            let node_port = port.node_port.map_or(String::new(), |node_port| format!(" at {node_port}"));
            format!("{}:{}/{}{node_port}", port.name, port.port, port.protocol)
        };
        (service.ports.iter().map(shown).collect(), said)
    }

    #[test]
    fn w6_a13_ports_have_a_name_and_a_protocol_and_a_number_may_serve_several_protocols() {
        let (served, said) = ports(&json!([
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns", "port": 53},
            {"name": "dns", "port": 53, "protocol": "SCTP"},
        ]));
        assert_eq!(served, ["dns:53/udp", "dns:53/tcp", "dns:53/sctp"]);
        assert_eq!(said, [""; 0]);
        assert_eq!(ports(&json!([{"port": 80}])).0, [":80/tcp"]);
    }

    #[test]
    fn a4_a9_a_node_port_of_zero_is_none() {
        for (node_port, want) in
            [(json!(30080), "a:80/tcp at 30080"), (json!(0), "a:80/tcp"), (json!(null), "a:80/tcp")]
        {
            let (served, said) = ports(&json!([{"name": "a", "port": 80, "nodePort": node_port}]));
            assert_eq!((served, said), (vec![want.to_owned()], vec![]), "{node_port}");
        }
        let both = json!([
            {"name": "a", "port": 53, "nodePort": 30053}, {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053},
        ]);
        assert_eq!(ports(&both), (vec!["a:53/tcp at 30053".to_owned(), "b:53/udp at 30053".to_owned()], vec![]));
    }

    /// As kube-proxy: the API server takes the number away with the type, and a manifest means what it says.
    #[test]
    fn a4_a_node_port_counts_whatever_the_services_type() {
        for kind in ["ClusterIP", "NodePort", "LoadBalancer"] {
            let spec = with(&json!({"type": kind, "ports": [{"port": 80, "nodePort": 30080}]}));
            let (service, said) = read(&spec, &json!(null));
            assert_eq!(
                (service.ports[0].node_port.map(sheave_core::Port::get), said.len()),
                (Some(30080), 0),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_bad_field_of_a_port_is_one_finding_and_the_others_are_served() {
        let long = "a".repeat(64);
        for (bad, served, message) in [
            (json!({"name": "b", "port": 0}), None, "spec.ports[1].port: missing; use 1 to 65535"),
            (json!({"name": "b", "port": 99999}), None, "spec.ports[1].port: 99999 is no port; use 1 to 65535"),
            (json!("b"), None, "spec.ports[1]: \"b\" is not a map"),
            (
                json!({"name": "b", "port": 81, "protocol": "ICMP"}),
                None,
                "spec.ports[1].protocol: unknown protocol \"ICMP\"; use TCP, UDP or SCTP",
            ),
            (
                json!({"name": "a/b", "port": 81}),
                None,
                "spec.ports[1].name: \"a/b\" is no port name; use 1 to 63 letters, digits and dashes",
            ),
            (
                json!({"name": long, "port": 81}),
                None,
                &format!("spec.ports[1].name: {long:?} is no port name; use 1 to 63 letters, digits and dashes"),
            ),
            (
                json!({"name": "a", "port": 81}),
                None,
                "spec.ports[1]: a second port named \"a\" or numbered 81 for tcp; only the first is served",
            ),
            (
                json!({"name": "b", "port": 80}),
                None,
                "spec.ports[1]: a second port named \"b\" or numbered 80 for tcp; only the first is served",
            ),
            (
                json!({"name": "b", "port": 81, "nodePort": 70000}),
                Some("b:81/tcp"),
                "spec.ports[1].nodePort: 70000 is no port; use 1 to 65535",
            ),
            (
                json!({"name": "b", "port": 81, "nodePort": "x"}),
                Some("b:81/tcp"),
                "spec.ports[1].nodePort: \"x\" is not a port number",
            ),
            (
                json!({"name": "b", "port": 81, "nodePort": 30080}),
                Some("b:81/tcp"),
                "spec.ports[1].nodePort: port \"a\" has NodePort 30080 for tcp already; this one is served at its VIPs only",
            ),
        ] {
            let (got, said) =
                ports(&json!([{"name": "a", "port": 80, "nodePort": 30080}, bad, {"name": "c", "port": 82}]));
            let want: Vec<_> = [Some("a:80/tcp at 30080"), served, Some("c:82/tcp")].into_iter().flatten().collect();
            assert_eq!(
                (got, said),
                (want.iter().map(ToString::to_string).collect(), vec![message.to_owned()]),
                "{bad}"
            );
        }
    }
}
