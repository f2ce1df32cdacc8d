//! The addresses a Service is dialled at, and who may dial them (A1, A7, A8, A10, R8).
use crate::address::{parse_cidr, parse_unicast};
use crate::field::{Field, Findings};
use crate::parse::Absent;
use ipnet::IpNet;
use sheave_core::Family;
use std::collections::HashSet;
use std::net::IpAddr;

/// The first ClusterIP of each family, which is empty when none can be used.
///
/// kube-proxy looks them up by `ipFamilies`, which the API server keeps in the order of `clusterIPs`. A manifest need not
/// have either: `clusterIP` alone is enough here.
pub(super) fn cluster_ips(spec: &Field<'_>, findings: &mut Findings) -> Result<Vec<IpAddr>, Absent> {
    let (first, all) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let listed: Vec<_> = all.list(findings).collect();
    let fields = if listed.is_empty() { vec![first] } else { listed };
    if first.is_text("None") || fields.iter().any(|field| field.is_text("None")) {
        return Err(Absent::Headless);
    }
    if fields.iter().all(Field::is_blank) {
        return Err(Absent::NoClusterIp);
    }
    let mut cluster_ips: Vec<IpAddr> = Vec::new();
    for (field, addr) in addresses(&fields, findings) {
        if cluster_ips.iter().any(|held| Family::of(*held) == Family::of(addr)) {
            let family = Family::of(addr);
            findings.invalid(field, format!("{addr} is a second {family} address; only the first is served"));
        } else {
            cluster_ips.push(addr);
        }
    }
    Ok(cluster_ips)
}

/// The addresses that a load balancer has been given.
#[derive(Default)]
pub(super) struct Ingress {
    /// Those of A7.
    pub(super) vips: Vec<IpAddr>,
    /// Those of A8.
    pub(super) proxied: Vec<IpAddr>,
}

/// Of `status.loadBalancer.ingress`. An ipMode that is neither unset nor VIP is not served (A8), as in kube-proxy
/// (pkg/proxy/serviceport.go).
pub(super) fn ingress(root: &Field<'_>, cluster_ips: &[IpAddr], findings: &mut Findings) -> Ingress {
    let status = root.get("status");
    let balancer = status.map(findings).get("loadBalancer");
    let ingress = balancer.map(findings).get("ingress");
    let entries: Vec<_> = ingress.list(findings).collect();
    let (mut vips, mut proxied) = (Vec::new(), Vec::new());
    for entry in &entries {
        match mode(&entry.map(findings).get("ipMode"), findings) {
            Some(Mode::Vip) => vips.push(entry.get("ip")),
            Some(Mode::Proxy) => proxied.push(entry.get("ip")),
            None => {}
        }
    }
    let vips = external(&vips, cluster_ips, findings);
    let mut proxied: Vec<_> = addresses(&proxied, findings).into_iter().map(|(_, addr)| addr).collect();
    proxied.sort_unstable();
    proxied.dedup();
    Ingress { vips, proxied }
}

/// `spec.externalIPs` (A10), whatever the Service's type.
pub(super) fn external_ips(spec: &Field<'_>, cluster_ips: &[IpAddr], findings: &mut Findings) -> Vec<IpAddr> {
    let list = spec.get("externalIPs");
    let fields: Vec<_> = list.list(findings).collect();
    external(&fields, cluster_ips, findings)
}

/// `spec.loadBalancerSourceRanges` (R8). The older annotation of that name is not read, nor does kube-proxy read it.
pub(super) fn source_ranges(spec: &Field<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let list = spec.get("loadBalancerSourceRanges");
    let fields: Vec<_> = list.list(findings).filter(|field| !field.is_blank()).collect();
    let ranges: Vec<_> = fields.iter().filter_map(|field| source_range(field, findings)).collect();
    if ranges.is_empty() && !fields.is_empty() {
        findings.invalid(&list, "no usable range is left, so every source may dial its load balancer; correct one");
    }
    ranges
}

/// White space around a range has always been taken (W11).
fn source_range(field: &Field<'_>, findings: &mut Findings) -> Option<IpNet> {
    parse_cidr(field.text(findings)?.trim()).map_err(|error| findings.invalid(field, error)).ok()
}

/// Who passes on what is sent to an address of a load balancer (KEP-1860).
enum Mode {
    /// The node, by a rule.
    Vip,
    /// The load balancer itself.
    Proxy,
}

fn mode(field: &Field<'_>, findings: &mut Findings) -> Option<Mode> {
    match field.text(findings) {
        Some("VIP") => Some(Mode::Vip),
        Some("Proxy") => Some(Mode::Proxy),
        None => field.is_null().then_some(Mode::Vip),
        Some(_) => {
            findings.invalid(field, format!("{} is neither VIP nor Proxy; its address is not served", field.shown()));
            None
        }
    }
}

/// Addresses beside the ClusterIPs, each once. Those of a family without a ClusterIP have no frontend, as in kube-proxy
/// (pkg/proxy/servicechangetracker.go, serviceToServiceMap).
fn external(fields: &[Field<'_>], cluster_ips: &[IpAddr], findings: &mut Findings) -> Vec<IpAddr> {
    let (mut external, mut seen) = (Vec::new(), HashSet::new());
    for (field, addr) in addresses(fields, findings) {
        let family = Family::of(addr);
        let of_family = cluster_ips.iter().any(|held| Family::of(*held) == family);
        if !of_family && !cluster_ips.is_empty() {
            findings.invalid(field, format!("{addr} is not served: the Service has no {family} ClusterIP"));
        }
        if seen.insert(addr) {
            external.push(addr);
        }
    }
    external
}

/// The addresses that can be used; blank ones are none.
fn addresses<'f, 'd>(fields: &'f [Field<'d>], findings: &mut Findings) -> Vec<(&'f Field<'d>, IpAddr)> {
    let mut addresses = Vec::new();
    for field in fields.iter().filter(|field| !field.is_blank()) {
        let Some(text) = field.text(findings) else { continue };
        match parse_unicast(text) {
            Ok(addr) => addresses.push((field, addr)),
            Err(error) => findings.invalid(field, error),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use crate::parse::service::tests::{read, with};
    use serde_json::{Value, json};
    use std::net::IpAddr;

    fn shown(addresses: &[IpAddr]) -> String {
        addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a1_cluster_ips_are_the_first_of_each_family() {
        for (name, fields, want, message) in [
            ("dual stack", json!({"clusterIPs": ["10.96.0.1", "fd00::1"]}), "10.96.0.1 fd00::1", None),
            ("single stack", json!({"clusterIP": "10.96.0.1"}), "10.96.0.1", None),
            ("W11 sloppy", json!({"clusterIP": "172.30.0.041"}), "172.30.0.41", None),
            (
                "two of a family",
                json!({"clusterIPs": ["10.96.0.1", "10.96.0.2"]}),
                "10.96.0.1",
                Some("spec.clusterIPs[1]: 10.96.0.2 is a second IPv4 address; only the first is served"),
            ),
            (
                "one bad",
                json!({"clusterIPs": ["127.0.0.1", "10.96.0.1"]}),
                "10.96.0.1",
                Some("spec.clusterIPs[0]: 127.0.0.1 cannot carry Service traffic: it is a loopback address"),
            ),
            (
                // An unspecified address would mean every address of the node.
                "the wildcard",
                json!({"clusterIPs": ["0.0.0.0", "fd00::1"]}),
                "fd00::1",
                Some("spec.clusterIPs[0]: 0.0.0.0 cannot carry Service traffic: it is unspecified"),
            ),
        ] {
            let (service, said) = read(&with(&fields), &json!(null));
            assert_eq!(shown(&service.cluster_ips), want, "case: {name}");
            assert_eq!(said, message.into_iter().collect::<Vec<_>>(), "case: {name}");
        }
    }

    #[test]
    fn a7_a8_load_balancer_addresses_are_those_of_mode_vip() {
        for (name, ingress, want) in [
            ("A7 no mode", json!([{"ip": "192.0.2.1"}]), "192.0.2.1;"),
            ("A7 VIP", json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]), "192.0.2.1;"),
            ("A8 Proxy", json!([{"ip": "192.0.2.1", "ipMode": "Proxy"}]), ";192.0.2.1"),
            (
                "A8 one of two",
                json!([{"ip": "192.0.2.1", "ipMode": "Proxy"}, {"ip": "192.0.2.2"}]),
                "192.0.2.2;192.0.2.1",
            ),
            ("A7 host name only", json!([{"hostname": "lb.example.org"}, {"ip": ""}]), ";"),
            (
                "A7 several, each once",
                json!([{"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]),
                "192.0.2.2 192.0.2.1;",
            ),
            ("W11 sloppy", json!([{"ip": "192.0.2.010"}]), "192.0.2.10;"),
            ("A7 none", json!(null), ";"),
        ] {
            let (service, said) = read(&with(&json!({})), &json!({"loadBalancer": {"ingress": ingress}}));
            let got = format!("{};{}", shown(&service.load_balancer_ips), shown(&service.proxied_ips));
            assert_eq!((got.as_str(), said.len()), (want, 0), "case: {name}");
        }
    }

    #[test]
    fn a10_external_ips_count_whatever_the_services_type() {
        for (name, fields, want) in [
            ("A10 ClusterIP", json!({"externalIPs": ["192.0.2.1", "192.0.2.2"]}), "192.0.2.1 192.0.2.2"),
            ("A10 NodePort", json!({"type": "NodePort", "externalIPs": ["192.0.2.1"]}), "192.0.2.1"),
            ("W11 sloppy", json!({"externalIPs": ["192.168.099.022", " ", ""]}), "192.168.99.22"),
            ("A10 none", json!({"externalIPs": []}), ""),
        ] {
            let (service, said) = read(&with(&fields), &json!(null));
            assert_eq!((shown(&service.external_ips).as_str(), said.len()), (want, 0), "case: {name}");
        }
    }

    #[test]
    fn r8_w11_source_ranges_are_trimmed_and_sloppy_and_an_unset_list_restricts_nobody() {
        for (name, ranges, want) in [
            ("R8 both families", json!(["192.0.2.0/24", "2001:db8::/32"]), "192.0.2.0/24 2001:db8::/32"),
            ("W11 white space", json!([" 203.0.113.000/025\t", "", "  "]), "203.0.113.0/25"),
            ("R8 zero", json!(["0.0.0.0/0"]), "0.0.0.0/0"),
            ("R8 none", json!([]), ""),
            ("R8 unset", json!(null), ""),
        ] {
            let (service, said) = read(&with(&json!({"loadBalancerSourceRanges": ranges})), &json!(null));
            let got: Vec<_> = service.source_ranges.iter().map(ToString::to_string).collect();
            assert_eq!((got.join(" ").as_str(), said.len()), (want, 0), "case: {name}");
        }
    }

    /// A Service with one good value in each field beside a bad one.
    fn bad(field: &str, value: &Value) -> (Vec<usize>, Vec<String>) {
        let mut spec = with(&json!({"externalIPs": ["192.0.2.1"], "loadBalancerSourceRanges": ["192.0.2.0/24"]}));
        let mut ingress = vec![json!({"ip": "192.0.2.9"})];
        match field {
            "ingress" => ingress.insert(0, value.clone()),
            list => spec[list].as_array_mut().unwrap().insert(0, value.clone()),
        }
        let (service, said) = read(&spec, &json!({"loadBalancer": {"ingress": ingress}}));
        (vec![service.external_ips.len(), service.source_ranges.len(), service.load_balancer_ips.len()], said)
    }

    #[test]
    fn a_bad_address_is_one_finding_and_the_others_are_served() {
        for (field, value, message) in [
            ("externalIPs", json!("here"), "spec.externalIPs[0]: \"here\" is not an IP address"),
            ("externalIPs", json!(7), "spec.externalIPs[0]: 7 is not a text"),
            ("externalIPs", json!("::"), "spec.externalIPs[0]: :: cannot carry Service traffic: it is unspecified"),
            (
                "externalIPs",
                json!("224.0.0.1"),
                "spec.externalIPs[0]: 224.0.0.1 cannot carry Service traffic: it is a multicast address",
            ),
            (
                "loadBalancerSourceRanges",
                json!("192.0.2.0"),
                "spec.loadBalancerSourceRanges[0]: \"192.0.2.0\" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16",
            ),
            ("ingress", json!({"ip": "here"}), "status.loadBalancer.ingress[0].ip: \"here\" is not an IP address"),
            (
                "ingress",
                json!({"ip": "0.0.0.0"}),
                "status.loadBalancer.ingress[0].ip: 0.0.0.0 cannot carry Service traffic: it is unspecified",
            ),
            ("ingress", json!("192.0.2.5"), "status.loadBalancer.ingress[0]: \"192.0.2.5\" is not a map"),
            (
                "ingress",
                json!({"ip": "192.0.2.5", "ipMode": 1}),
                "status.loadBalancer.ingress[0].ipMode: 1 is not a text",
            ),
            (
                "ingress",
                json!({"ip": "192.0.2.5", "ipMode": "Vip"}),
                "status.loadBalancer.ingress[0].ipMode: \"Vip\" is neither VIP nor Proxy; its address is not served",
            ),
        ] {
            assert_eq!(bad(field, &value), (vec![1, 1, 1], vec![message.to_owned()]), "{field}: {value}");
        }
    }

    #[test]
    fn r8_ranges_of_which_none_can_be_used_restrict_nobody_and_that_is_said() {
        let (service, said) = read(&with(&json!({"loadBalancerSourceRanges": ["x", ""]})), &json!(null));
        assert_eq!(service.source_ranges, []);
        assert_eq!(
            said[1],
            "spec.loadBalancerSourceRanges: no usable range is left, so every source may dial its load balancer; correct one"
        );
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn an_address_of_a_family_without_a_cluster_ip_is_named() {
        let said = |addresses: Value| {
            let status = json!({"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}]}});
            read(&with(&json!({"clusterIPs": addresses, "externalIPs": ["192.0.2.1"]})), &status).1
        };
        assert_eq!(
            said(json!(["10.96.0.1"])),
            ["status.loadBalancer.ingress[0].ip: 2001:db8::1 is not served: the Service has no IPv6 ClusterIP"]
        );
        assert_eq!(said(json!(["10.96.0.1", "fd00::1"])), [""; 0]);
        assert_eq!(said(json!(["x"])), ["spec.clusterIPs[0]: \"x\" is not an IP address"], "the cause alone");
    }
}
