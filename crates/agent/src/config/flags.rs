//! The options of the agent's command line that set a field: sheave's own, and those of kube-proxy
//! (`cmd/kube-proxy/app/options.go`, 1.36).
//!
//! Sheave's own win over the file. As kube-proxy does it, nearly all of its options count only where no `KubeProxyConfiguration`
//! is given.

/// An option and the field that it sets.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// The field, of `SheaveConfiguration` or of `KubeProxyConfiguration`.
    pub field: &'static str,
    /// What stands behind it.
    pub value: FlagKind,
    /// Against a file that holds a `KubeProxyConfiguration`.
    pub precedence: Precedence,
    /// What it does; empty for what has no effect here.
    pub help: &'static str,
}

/// What stands behind an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagKind {
    /// A value, shown so. Of several the last one counts.
    Value(&'static str),
    /// Values between commas, shown so. Several of them are one list (pflag's `StringSlice`).
    List(&'static str),
    /// `true`, `false`, or nothing, which is `true`.
    Switch,
}

/// Whether an option or the file wins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precedence {
    /// The option.
    Option,
    /// The file.
    File,
}

/// An option as it was given.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// Which.
    pub flag: &'static Flag,
    /// Its value, as it was typed.
    pub value: String,
}

/// `--bpffs`, which other commands have as well.
pub const BPFFS: Flag = wins("bpffs", "bpffs", "PATH", "Where a BPF file system is mounted [default: /sys/fs/bpf]");

/// Sheave's own.
pub const OWN: &[Flag] = &[
    wins(
        "source",
        "source",
        "kube|PATH",
        "Where Services come from: `kube`, or a manifest file or directory [default: kube]",
    ),
    wins("dataplane", "dataplane", "ebpf", "Which dataplane serves [default: ebpf]"),
    wins("server", "server", "URL", "Address of the API server, in place of the one that the kubeconfig names"),
    wins("cgroup", "cgroup", "PATH", CGROUP),
];

/// Those of kube-proxy.
pub const KUBE_PROXY: &[Flag] = &[
    wins("hostname-override", "hostnameOverride", "NAME", "Name of this node [default: the host name]"),
    wins("kubeconfig", "clientConnection.kubeconfig", "FILE", KUBECONFIG),
    wins("v", "logging.verbosity", "LEVEL", "How much is logged: 0 to 3 info, 4 debug, 5 trace; or warn, error"),
    wins(
        "logging-format",
        "logging.format",
        "text|json",
        "Form of a log line [default: text on a terminal, else json]",
    ),
    sets("bind-address-hard-fail", "bindAddressHardFail", SWITCH, "An address that cannot be bound ends the agent"),
    sets("cluster-cidr", "clusterCIDR", CIDRS, "The pods' CIDRs, of each family the first"),
    sets("conntrack-max-per-core", "conntrack.maxPerCore", NUMBER, "Connections tracked for each CPU [default: 32768]"),
    sets("conntrack-min", "conntrack.min", NUMBER, "Connections tracked at least [default: 131072]"),
    sets("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", SWITCH, "Segments outside of the window are valid"),
    sets("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", TIME, "[default: 1h]"),
    sets("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", TIME, "[default: 24h]"),
    sets("conntrack-udp-timeout", "conntrack.udpTimeout", TIME, "[default: the kernel's]"),
    sets("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", TIME, "[default: the kernel's]"),
    sets("detect-local-mode", "detectLocalMode", FlagKind::Value("MODE"), "How pods of this node are told"),
    sets("healthz-bind-address", "healthzBindAddress", SOCKET, "[default: 0.0.0.0:10256]; empty: no such server"),
    sets("iptables-sync-period", "iptables.syncPeriod", TIME, "When a pending update is late [default: 30s]"),
    sets("ipvs-sync-period", "ipvs.syncPeriod", TIME, "The same, with --proxy-mode ipvs"),
    sets("masquerade-all", "iptables.masqueradeAll", SWITCH, "Masquerade whatever is sent to a ClusterIP"),
    sets("metrics-bind-address", "metricsBindAddress", SOCKET, "[default: 127.0.0.1:10249]; empty: no such server"),
    sets(
        "nodeport-addresses",
        "nodePortAddresses",
        FlagKind::List("CIDR,…"),
        "Where NodePorts are accepted [default: primary]",
    ),
    sets("oom-score-adj", "oomScoreAdj", NUMBER, "oom_score_adj of this process [default: -999]"),
    sets("pod-bridge-interface", "detectLocal.bridgeInterface", NAME, "For --detect-local-mode BridgeInterface"),
    sets("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", NAME, "For InterfaceNamePrefix"),
    idle("bind-address", "bindAddress", VALUE),
    idle("config-sync-period", "configSyncPeriod", VALUE),
    idle("feature-gates", "featureGates", VALUE),
    idle("iptables-localhost-nodeports", "iptables.localhostNodePorts", SWITCH),
    idle("iptables-masquerade-bit", "iptables.masqueradeBit", VALUE),
    idle("iptables-min-sync-period", "iptables.minSyncPeriod", VALUE),
    idle("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", FlagKind::List("CIDR,…")),
    idle("ipvs-min-sync-period", "ipvs.minSyncPeriod", VALUE),
    idle("ipvs-scheduler", "ipvs.scheduler", VALUE),
    idle("ipvs-strict-arp", "ipvs.strictARP", SWITCH),
    idle("ipvs-tcp-timeout", "ipvs.tcpTimeout", VALUE),
    idle("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", VALUE),
    idle("ipvs-udp-timeout", "ipvs.udpTimeout", VALUE),
    idle("kube-api-burst", "clientConnection.burst", VALUE),
    idle("kube-api-content-type", "clientConnection.contentType", VALUE),
    idle("kube-api-qps", "clientConnection.qps", VALUE),
    idle("log-flush-frequency", "logging.flushFrequency", VALUE),
    idle("log-json-info-buffer-size", "logging.options.json.infoBufferSize", VALUE),
    idle("log-json-split-stream", "logging.options.json.splitStream", SWITCH),
    idle("log-text-info-buffer-size", "logging.options.text.infoBufferSize", VALUE),
    idle("log-text-split-stream", "logging.options.text.splitStream", SWITCH),
    idle("profiling", "enableProfiling", SWITCH),
    idle("proxy-mode", "mode", VALUE),
    idle("show-hidden-metrics-for-version", "showHiddenMetricsForVersion", VALUE),
    idle("vmodule", "logging.vmodule", VALUE),
];

/// Options that do something else than run a proxy, or are old, with what does it here.
pub const REFUSED: [(&str, &str); 4] = [
    (
        "cleanup",
        "run `sheave cleanup --kube-proxy` to remove what kube-proxy has left, `sheave cleanup` for what sheave has put here",
    ),
    ("healthz-port", "use --healthz-bind-address ADDRESS:PORT, empty for none"),
    ("metrics-port", "use --metrics-bind-address ADDRESS:PORT, empty for none"),
    ("write-config-to", "`sheave agent --check-config` prints the effective values"),
];

const CGROUP: &str = "The cgroup whose processes the socket entrance serves [default: the root of the cgroup2 mount]";
const KUBECONFIG: &str = "kubeconfig file [default: $KUBECONFIG, ~/.kube/config, then the Pod's service account]";
const SWITCH: FlagKind = FlagKind::Switch;
const VALUE: FlagKind = FlagKind::Value("VALUE");
const TIME: FlagKind = FlagKind::Value("TIME");
const NUMBER: FlagKind = FlagKind::Value("N");
const NAME: FlagKind = FlagKind::Value("NAME");
const CIDRS: FlagKind = FlagKind::Value("CIDR,…");
const SOCKET: FlagKind = FlagKind::Value("ADDRESS:PORT");

const fn wins(name: &'static str, field: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, field, value: FlagKind::Value(value), precedence: Precedence::Option, help }
}

const fn sets(name: &'static str, field: &'static str, value: FlagKind, help: &'static str) -> Flag {
    Flag { name, field, value, precedence: Precedence::File, help }
}

const fn idle(name: &'static str, field: &'static str, value: FlagKind) -> Flag {
    Flag { name, field, value, precedence: Precedence::File, help: "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SocketLb, own};
    use std::collections::BTreeSet;
    use std::path::Path;

    fn given(options: &[(&str, &str)]) -> Vec<FlagValue> {
        let flag = |name: &str| OWN.iter().chain(KUBE_PROXY).find(|flag| flag.name == name).unwrap();
        options.iter().map(|(name, value)| FlagValue { flag: flag(name), value: (*value).to_owned() }).collect()
    }

    fn beside(file: Option<&str>, options: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.conf");
        if let Some(text) = file {
            let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
            std::fs::write(&path, format!("{head}{text}\n")).unwrap();
        }
        Config::load(file.map(|_| &*path), &given(options)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_option_sets_a_field_that_there_is_and_no_two_have_one_name() {
        let names: BTreeSet<_> = OWN.iter().chain(KUBE_PROXY).map(|flag| flag.name).collect();
        assert_eq!(names.len(), OWN.len() + KUBE_PROXY.len());
        for flag in OWN.iter().chain([&BPFFS]) {
            assert!(own::FIELDS.contains(&flag.field), "{}", flag.field);
        }
        // Some count with their mode only.
        let mode = |flag: &Flag| match flag.name {
            "ipvs-sync-period" => Some(("proxy-mode", "ipvs")),
            "pod-bridge-interface" => Some(("detect-local-mode", "BridgeInterface")),
            "pod-interface-name-prefix" => Some(("detect-local-mode", "InterfaceNamePrefix")),
            _ => None,
        };
        for flag in KUBE_PROXY {
            let word = match flag.value {
                FlagKind::Switch => "true",
                FlagKind::Value(_) if flag.field == "mode" => "ipvs",
                FlagKind::Value(_) | FlagKind::List(_) => "1",
            };
            let options: Vec<_> = mode(flag).into_iter().chain([(flag.name, word)]).collect();
            let config = beside(None, &options);
            let notes = config.map(|config| config.kube_proxy.notes).unwrap_or_default();
            let named = notes.iter().any(|note| note.contains(flag.field));
            assert_eq!(named, flag.help.is_empty(), "{}: {notes:?}", flag.name);
            assert!(!notes.iter().any(|note| note.contains("not known")), "{}: {notes:?}", flag.name);
        }
    }

    /// H8: `Options.Complete` keeps of the command line the name and the logging, beside `--config`.
    #[test]
    fn beside_a_kube_proxy_configuration_most_options_of_kube_proxy_do_not_count_and_are_named() {
        let options =
            [("hostname-override", "Worker-2"), ("cluster-cidr", "10.1.0.0/16"), ("v", "4"), ("source", "/srv")];
        let alone = beside(None, &options).unwrap();
        let beside = beside(Some("hostnameOverride: worker-1\nclusterCIDR: 10.2.0.0/16"), &options).unwrap();
        for config in [&alone, &beside] {
            assert_eq!(config.configured_node_name(), Some("worker-2"));
            assert_eq!(config.kube_proxy.logging.level, tracing::level_filters::LevelFilter::DEBUG);
            assert_eq!(config.source, "/srv");
        }
        let cidr = |config: &Config| {
            let setting = config.effective().into_iter().find(|setting| setting.field == "clusterCIDR").unwrap();
            (setting.value.as_str().unwrap().to_owned(), setting.origin)
        };
        assert_eq!(cidr(&alone), ("10.1.0.0/16".to_owned(), "--cluster-cidr".to_owned()));
        let (value, origin) = cidr(&beside);
        assert_eq!(value, "10.2.0.0/16");
        assert!(origin.ends_with("config.conf:4"), "{origin}");
        let ignored = |config: &Config| config.kube_proxy.notes.iter().any(|note| note.ends_with(": --cluster-cidr"));
        assert!(!ignored(&alone) && ignored(&beside), "{:?}", beside.kube_proxy.notes);
    }

    #[test]
    fn an_option_is_read_as_kube_proxy_reads_it() {
        let servers = [("healthz-bind-address", ""), ("metrics-bind-address", "0.0.0.0")];
        let config = beside(None, &servers).unwrap().kube_proxy;
        assert_eq!((config.healthz_bind, config.metrics_bind), (None, Some("0.0.0.0:10249".parse().unwrap())));
        let config = beside(None, &[("nodeport-addresses", "10.0.0.0/8,::/0"), ("masquerade-all", "true")]).unwrap();
        assert_eq!(
            config.effective().iter().find(|s| s.field == "nodePortAddresses").unwrap().value.as_array().unwrap().len(),
            2
        );
        assert!(config.kube_proxy.masquerade_all);
        for (mode, want_s) in [("iptables", 7), ("nftables", 7), ("ipvs", 9)] {
            let periods = [("proxy-mode", mode), ("iptables-sync-period", "7s"), ("ipvs-sync-period", "9s")];
            let config = beside(None, &periods).unwrap();
            assert_eq!(config.kube_proxy.sync_period, std::time::Duration::from_secs(want_s), "{mode}");
        }
        for (option, want) in [
            (("conntrack-min", "many"), "configuration --conntrack-min: conntrack.min: \"many\" is not a whole number"),
            (("oom-score-adj", "-1001"), "configuration --oom-score-adj: oomScoreAdj: \"-1001\" is not"),
            (("proxy-mode", "magic"), "configuration --proxy-mode: mode: \"magic\" is not one of: iptables"),
            (("dataplane", "auto"), "configuration --dataplane: dataplane: \"auto\" comes with the IPVS dataplane"),
        ] {
            let error = beside(None, &[option]).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        let off = Config::parse(
            "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nsocketLb: off\n",
            Path::new("c"),
        );
        assert_eq!(off.unwrap().socket_lb, SocketLb::Off);
    }
}
