//! The document `kind: SheaveConfiguration`: sheave's own settings. A dozen at most, so that they can be known.
use super::fields::{BadValue, Fields, is_section};
use super::known::{self, no_mapping};
use super::value::{Located, Refusal};
use super::{Config, DataplaneKind, MapsConfig, ServiceMetrics, SocketLb};
use std::path::PathBuf;

pub(super) const DOCUMENT: &str = "sheave.dev/v1alpha1 SheaveConfiguration";

/// Its fields.
pub(super) const FIELDS: [&str; 17] = [
    "adminSocket",
    "apiVersion",
    "bpffs",
    "cgroup",
    "dataplane",
    "externalIPs",
    "kind",
    "maps.backendsMax",
    "maps.flowsMax",
    "maps.frontendsMax",
    "maps.servicesMax",
    "maps.slotsMax",
    "server",
    "serviceMetrics.max",
    "serviceMetrics.services",
    "socketLb",
    "source",
];

/// In how many letters a name may differ from one that is meant.
const LETTERS_MAX: usize = 3;

const SOCKET_LB: [(&str, SocketLb); 3] = [("all", SocketLb::All), ("host", SocketLb::Host), ("off", SocketLb::Off)];

/// Reads all of it.
pub(super) fn read(fields: &mut Fields) -> Result<Config, BadValue> {
    let default = Config::default();
    fields.read("apiVersion", |_| Ok(()))?;
    fields.read("kind", |_| Ok(()))?;
    let config = Config {
        dataplane: fields.read("dataplane", dataplane)?.unwrap_or_default(),
        source: fields.read("source", |located| filled(located).map(str::to_owned))?.unwrap_or(default.source),
        server: fields.read("server", |located| filled(located).map(str::to_owned))?,
        bpffs: fields.read("bpffs", path)?.unwrap_or(default.bpffs),
        cgroup: fields.read("cgroup", path)?,
        admin_socket: fields.read("adminSocket", path)?.unwrap_or(default.admin_socket),
        socket_lb: fields.read("socketLb", socket_lb)?.unwrap_or_default(),
        external_ips: fields.read("externalIPs", Located::boolean)?.unwrap_or(default.external_ips),
        maps: maps(fields)?,
        service_metrics: ServiceMetrics::read(fields)?,
        ..Config::default()
    };
    for (path, located) in fields.left_over() {
        if !is_section(path, FIELDS.into_iter()) {
            return Err(BadValue { place: located.place, field: path.to_owned(), reason: unknown(path) });
        }
        no_mapping(path, located)?;
    }
    Ok(config)
}

fn maps(fields: &mut Fields) -> Result<MapsConfig, BadValue> {
    let default = MapsConfig::default();
    let entries = |located: &Located| located.integer(0..=u32::MAX);
    Ok(MapsConfig {
        frontends_max: fields.read("maps.frontendsMax", entries)?.unwrap_or(default.frontends_max),
        services_max: fields.read("maps.servicesMax", entries)?.unwrap_or(default.services_max),
        slots_max: fields.read("maps.slotsMax", entries)?.unwrap_or(default.slots_max),
        backends_max: fields.read("maps.backendsMax", entries)?.unwrap_or(default.backends_max),
        flows_max: fields.read("maps.flowsMax", entries)?.unwrap_or(default.flows_max),
    })
}

fn filled(located: &Located) -> Result<&str, Refusal> {
    located.filled()?.ok_or_else(|| located.refuse("enough; leave it out for the default"))
}

fn path(located: &Located) -> Result<PathBuf, Refusal> {
    filled(located).map(PathBuf::from)
}

/// YAML 1.1 reads a bare `off` as false, and so does our reader.
fn socket_lb(located: &Located) -> Result<SocketLb, Refusal> {
    if located.boolean() == Ok(false) { Ok(SocketLb::Off) } else { located.choice(&SOCKET_LB) }
}

/// What there is not yet is refused by what it would need.
fn dataplane(located: &Located) -> Result<DataplaneKind, Refusal> {
    match located.text()? {
        "auto" => Err((located.place, "\"auto\" comes with the IPVS dataplane; until then use ebpf".to_owned())),
        "ipvs" => Err((located.place, "the IPVS dataplane is not there yet; use ebpf".to_owned())),
        _ => located.choice(&[("ebpf", DataplaneKind::Ebpf)]),
    }
}

fn unknown(field: &str) -> String {
    if known::is_field(field) {
        return "a field of KubeProxyConfiguration; put it into a document of that kind".to_owned();
    }
    match nearest(field) {
        Some(nearest) => format!("no such field; did you mean {nearest}?"),
        None => format!("no such field; there are {}", FIELDS.join(", ")),
    }
}

/// The field that may have been meant: of ours, else of kube-proxy's.
fn nearest(field: &str) -> Option<String> {
    let near = |known: &'static str| {
        let distance = strsim::osa_distance(&field.to_lowercase(), &known.to_lowercase());
        (distance <= LETTERS_MAX && distance < known.len() / 2).then_some((distance, known))
    };
    let ours = FIELDS.into_iter().filter_map(near).min();
    let theirs = || known::HEEDED.into_iter().filter_map(near).min();
    let ours = ours.map(|(_, field)| field.to_owned());
    ours.or_else(|| theirs().map(|(_, field)| format!("{field} of KubeProxyConfiguration")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn error(text: &str) -> String {
        let head = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n";
        Config::parse(&format!("{head}{text}\n"), Path::new("config.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn there_are_a_dozen_settings_at_most() {
        let keys = FIELDS.iter().filter(|field| !matches!(**field, "apiVersion" | "kind"));
        let keys: std::collections::BTreeSet<_> = keys.filter_map(|field| field.split('.').next()).collect();
        assert!(keys.len() <= 12, "{keys:?}");
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_one_that_may_be_meant() {
        for (text, want) in [
            ("sokcetLb: all", "configuration config.yaml:3: sokcetLb: no such field; did you mean socketLb?"),
            ("externalIps: true", "configuration config.yaml:3: externalIps: no such field; did you mean externalIPs?"),
            (
                "maps:\n  sevicesMax: 7",
                "configuration config.yaml:4: maps.sevicesMax: no such field; did you mean maps.servicesMax?",
            ),
            (
                "clusterCIDR: 10.0.0.0/8",
                "configuration config.yaml:3: clusterCIDR: a field of KubeProxyConfiguration; put it into a document of that kind",
            ),
            (
                "nodePortAddreses: []",
                "configuration config.yaml:3: nodePortAddreses: no such field; did you mean nodePortAddresses of KubeProxyConfiguration?",
            ),
            ("maps: 7", "configuration config.yaml:3: maps: 7 is not a mapping"),
        ] {
            assert_eq!(error(text), want);
        }
        assert!(error("colour: blue").contains("no such field; there are adminSocket"));
    }

    #[test]
    fn a_dataplane_that_is_not_there_is_refused_by_name() {
        for (text, want) in [
            ("dataplane: auto", "\"auto\" comes with the IPVS dataplane"),
            ("dataplane: ipvs", "the IPVS dataplane is not there yet; use ebpf"),
            ("dataplane: magic", "\"magic\" is not one of: ebpf"),
            ("dataplane: 7", "7 is not text"),
        ] {
            let error = error(text);
            assert!(error.contains(want) && error.starts_with("configuration config.yaml:3: dataplane: "), "{error}");
        }
    }
}
