//! Sizes and time-outs of the kernel's connection tracking, set as kube-proxy does (`pkg/proxy/conntrack/sysctls.go`, before
//! 1.36 `cmd/kube-proxy/app/conntrack.go`): netfilter of the node tracks what sheave translates as it tracks anything else.
//!
//! Three things differ. The table is never made smaller; its hash is left alone, since that is no setting of a network namespace
//! and wants a writable `/sys`; and what cannot be set is said once and keeps no agent from starting.
use crate::config::Conntrack;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{debug, info, warn};

/// The module may be loaded long after the agent, by the first rule that needs it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

const SYSCTLS: &str = "/proc/sys/net/netfilter";
const REFUSED: &str =
    "connection tracking stays as it is; set this on the host with sysctl -w net.netfilter.SYSCTL=WANTED";
const CPUS: &str = "/sys/devices/system/cpu/online";

/// A value that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Wanted {
    /// The sysctl, below `net.netfilter`.
    name: &'static str,
    value: u64,
    /// Whether a larger value is as good.
    at_least: bool,
}

/// What became of it.
#[derive(Debug)]
enum Outcome {
    /// It was so.
    AsWanted,
    /// It was this and is now as wanted.
    Set(u64),
    /// The kernel does not track connections (yet).
    Absent,
    /// It stays as it is.
    Refused(io::Error),
}

/// Sets what is asked for, now or when connections begin to be tracked.
pub(crate) async fn apply(config: Conntrack) {
    let wanted = wanted(&config, cpus().unwrap_or(1));
    while !apply_once(Path::new(SYSCTLS), &wanted) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Sets what is asked for, once, as `--init-only` does. False where connections are not tracked yet: then there is nothing to set it in.
#[must_use]
pub fn initialise(config: &Conntrack) -> bool {
    apply_once(Path::new(SYSCTLS), &wanted(config, cpus().unwrap_or(1)))
}

/// Whether there was something to set it in.
fn apply_once(sysctls: &Path, wanted: &[Wanted]) -> bool {
    let mut tracked = true;
    for &wanted in wanted {
        let Wanted { name: sysctl, value, .. } = wanted;
        match wanted.set(sysctls) {
            Outcome::Set(before) => info!(sysctl, before, now = value, "connection tracking set"),
            Outcome::Refused(error) => warn!(sysctl, wanted = value, %error, "{REFUSED}"),
            Outcome::Absent => {
                debug!(sysctl, "connections are not tracked");
                tracked = false;
            }
            Outcome::AsWanted => {}
        }
    }
    tracked
}

/// What is asked of a machine with so many CPUs.
fn wanted(config: &Conntrack, cpus: u32) -> Vec<Wanted> {
    let Conntrack { max_per_core, min, tcp_established, tcp_close_wait, tcp_be_liberal, udp, udp_stream } = config;
    let max = (*max_per_core > 0).then(|| (u64::from(*max_per_core) * u64::from(cpus)).max((*min).into()));
    let seconds = |time: &Duration| (!time.is_zero()).then(|| time.as_secs().max(1));
    let exactly = |name, value: Option<u64>| Some(Wanted { name, value: value?, at_least: false });
    [
        max.map(|value| Wanted { name: "nf_conntrack_max", value, at_least: true }),
        exactly("nf_conntrack_tcp_timeout_established", seconds(tcp_established)),
        exactly("nf_conntrack_tcp_timeout_close_wait", seconds(tcp_close_wait)),
        exactly("nf_conntrack_tcp_be_liberal", tcp_be_liberal.then_some(1)),
        exactly("nf_conntrack_udp_timeout", seconds(udp)),
        exactly("nf_conntrack_udp_timeout_stream", seconds(udp_stream)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Wanted {
    fn set(self, sysctls: &Path) -> Outcome {
        let file: PathBuf = sysctls.join(self.name);
        let before = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Absent,
            Err(error) => return Outcome::Refused(error),
        };
        if before == self.value || (self.at_least && before > self.value) {
            return Outcome::AsWanted;
        }
        match std::fs::write(&file, self.value.to_string()) {
            Ok(()) => Outcome::Set(before),
            Err(error) => Outcome::Refused(error),
        }
    }
}

/// The machine's CPUs, not those that this process may use: the table is the machine's.
fn cpus() -> Option<u32> {
    let online = std::fs::read_to_string(CPUS).ok().and_then(|text| count(text.trim()));
    online.or_else(|| std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok()))
}

/// `0-3,8`: so many are in the list.
fn count(list: &str) -> Option<u32> {
    let range = |part: &str| -> Option<u32> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(range).try_fold(0_u32, |sum, count| sum.checked_add(count?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &Conntrack, cpus: u32) -> Vec<(&'static str, u64)> {
        wanted(config, cpus).into_iter().map(|wanted| (wanted.name, wanted.value)).collect()
    }

    /// H8
    #[test]
    fn kube_proxys_defaults_ask_for_a_table_by_the_cpus_and_two_time_outs() {
        let times = [("nf_conntrack_tcp_timeout_established", 86_400), ("nf_conntrack_tcp_timeout_close_wait", 3600)];
        for (cpus, max) in [(1, 131_072), (4, 131_072), (5, 163_840), (64, 2_097_152)] {
            let want: Vec<_> = [("nf_conntrack_max", max)].into_iter().chain(times).collect();
            assert_eq!(asked(&Conntrack::default(), cpus), want, "{cpus} CPUs");
        }
    }

    #[test]
    fn zero_leaves_a_value_alone_and_max_per_core_decides_over_min() {
        let nothing = Conntrack {
            max_per_core: 0,
            tcp_established: Duration::ZERO,
            tcp_close_wait: Duration::ZERO,
            ..Conntrack::default()
        };
        assert_eq!(asked(&nothing, 64), []);
        let rest = Conntrack {
            tcp_be_liberal: true,
            udp: Duration::from_millis(1500),
            udp_stream: Duration::from_millis(5),
            ..nothing
        };
        let want = [
            ("nf_conntrack_tcp_be_liberal", 1),
            ("nf_conntrack_udp_timeout", 1),
            ("nf_conntrack_udp_timeout_stream", 1),
        ];
        assert_eq!(asked(&rest, 64), want);
    }

    #[test]
    fn a_value_is_written_when_it_differs_and_the_table_is_never_made_smaller() {
        for (case, at_least, before, want) in [
            ("equal", false, "120\n", "120\n"),
            ("lower", false, "30\n", "120"),
            ("higher", false, "600\n", "120"),
            ("lower, at least", true, "30\n", "120"),
            ("higher, at least", true, "600\n", "600\n"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("x");
            std::fs::write(&file, before).unwrap();
            assert!(apply_once(directory.path(), &[Wanted { name: "x", value: 120, at_least }]));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), want, "case: {case}");
        }
    }

    #[test]
    fn what_is_not_there_is_looked_for_again_and_what_is_refused_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let one = |name| [Wanted { name, value: 1, at_least: false }];
        assert!(!apply_once(directory.path(), &one("absent")));
        assert!(!directory.path().join("absent").exists());
        std::fs::create_dir(directory.path().join("refused")).unwrap();
        assert!(matches!(one("refused")[0].set(directory.path()), Outcome::Refused(_)));
        assert!(apply_once(directory.path(), &one("refused")));
    }

    #[test]
    fn cpus_are_counted_in_the_kernels_lists() {
        for (list, want) in [("0", Some(1)), ("0-3,8", Some(5)), ("0-1,4-5", Some(4)), ("", None), ("3-1", None)] {
            assert_eq!(count(list), want, "{list}");
        }
    }
}
