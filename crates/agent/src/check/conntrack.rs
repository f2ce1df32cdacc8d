//! How full the kernel's table of connections is: when it is full, packets of new ones are dropped, whoever translates them.
use super::network::sysctl;
use super::{Finding, Level};

/// From here on it is nearly full.
const PERCENT_FULL: u64 = 90;

/// The table of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracking {
    /// Its entries.
    pub count: u64,
    /// How many there may be.
    pub max: u64,
    /// Entries that had to go before their time, since the machine was started.
    pub early_drops: u64,
}

impl Tracking {
    pub(super) fn read() -> Option<Self> {
        let number = |name: &str| sysctl(&format!("net/netfilter/{name}")).and_then(|text| text.parse().ok());
        let counters = std::fs::read_to_string("/proc/self/net/stat/nf_conntrack").unwrap_or_default();
        Some(Self {
            count: number("nf_conntrack_count")?,
            max: number("nf_conntrack_max")?,
            early_drops: early_drops(&counters),
        })
    }

    pub(super) fn finding(self) -> Finding {
        let name = "connection-tracking";
        let Self { count, max, early_drops } = self;
        let found = format!("{count} of {max} entries, {early_drops} dropped before their time");
        if count.saturating_mul(100) < max.saturating_mul(PERCENT_FULL) {
            return Finding::ok(name, found);
        }
        let remedy = format!(
            "raise conntrack.maxPerCore or conntrack.min of KubeProxyConfiguration, or sysctl -w \
             net.netfilter.nf_conntrack_max={}",
            max.saturating_mul(2)
        );
        Finding::bad(Level::Warning, name, found, remedy)
    }
}

/// A head with names, then a line of hexadecimal numbers for each CPU (net/netfilter/nf_conntrack_standalone.c,
/// `ct_cpu_seq_show`).
fn early_drops(counters: &str) -> u64 {
    let mut lines = counters.lines();
    let column = lines.next().and_then(|head| head.split_whitespace().position(|name| name == "early_drop"));
    let Some(column) = column else { return 0 };
    let of_cpu = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    lines.filter_map(of_cpu).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_drops_of_all_cpus_are_added_up() {
        let head = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error";
        let cpu = |drops: &str| format!("0000000a 0 0 0 0 0 0 0 0 0 0 {drops} 0");
        for (text, want) in [
            (format!("{head}\n{}\n{}\n", cpu("00000010"), cpu("00000001")), 17),
            (format!("{head}\n"), 0),
            ("entries found\n1 2\n".to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(early_drops(&text), want, "{text}");
        }
    }
}
