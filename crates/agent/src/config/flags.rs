//! The options of kube-proxy's command line (`cmd/kube-proxy/app/options.go`, 1.36) that sheave takes, and which of them win
//! over the file.
//!
//! As kube-proxy does it, nearly all of them count only where no `KubeProxyConfiguration` is given.

/// An option and the field that it sets.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// The field of `KubeProxyConfiguration`.
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
    /// A value, shown so.
    Value(&'static str),
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

/// All of them.
pub const FLAGS: &[Flag] = &[
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
    sets("nodeport-addresses", "nodePortAddresses", CIDRS, "Where NodePorts are accepted [default: primary]"),
    sets("oom-score-adj", "oomScoreAdj", NUMBER, "oom_score_adj of this process [default: -999]"),
    sets("pod-bridge-interface", "detectLocal.bridgeInterface", NAME, "For --detect-local-mode BridgeInterface"),
    sets("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", NAME, "For InterfaceNamePrefix"),
    idle("bind-address", "bindAddress", VALUE),
    idle("config-sync-period", "configSyncPeriod", VALUE),
    idle("feature-gates", "featureGates", VALUE),
    idle("iptables-localhost-nodeports", "iptables.localhostNodePorts", SWITCH),
    idle("iptables-masquerade-bit", "iptables.masqueradeBit", VALUE),
    idle("iptables-min-sync-period", "iptables.minSyncPeriod", VALUE),
    idle("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", VALUE),
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

/// Options that do something else than run a proxy, with what does it here.
pub const REFUSED: [(&str, &str); 3] = [
    (
        "cleanup",
        "run `sheave cleanup --kube-proxy` to remove what kube-proxy has left, `sheave cleanup` for what sheave has put here",
    ),
    ("init-only", "nothing has to be done before; leave it out"),
    ("write-config-to", "`sheave agent --check-config` prints the effective values"),
];

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
