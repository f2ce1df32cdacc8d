//! The layouts in a real kernel, by the real tools, in namespaces that lead nowhere.
use crate::fixture::{NODES, OUTSIDE, PODS, SERVICES, addr, any_port, changed, node, of_each_kind};
use sheave_baseline::{Baseline, Layout, Ruleset, Script, Tool, exec};
use sheave_core::Family;
use sheave_lab::Sandbox;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// So many new flows miss one of three backends once in 10¹⁰ runs.
const FLOWS: usize = 60;

/// Runs the body once for each layout and family, each time in a namespace of its own.
fn for_each_layout(body: fn(&str, &mut dyn Baseline, Family)) {
    if !sheave_tests::kernel_or_skip("it loads rules into the kernel") {
        return;
    }
    for family in [Family::V4, Family::V6] {
        for layout in Layout::ALL {
            let sandbox = Sandbox::new("layout").expect("root may make namespaces");
            let mut baseline = layout.baseline(node(family));
            let name = format!("{layout}, {family}");
            sandbox.run(move || body(&name, &mut *baseline, family)).expect("a thread in the namespace");
        }
    }
}

fn apply(script: &Script) {
    let found = script.tool.find().unwrap_or_else(|missing| panic!("{missing}"));
    if let Err(refused) = exec::apply(&found, script) {
        panic!("{refused}\n{}", script.text);
    }
}

/// Applies a change as a proxy would, with what it takes away later.
fn apply_change(baseline: &mut dyn Baseline, before: &Ruleset, after: &Ruleset) {
    apply(&baseline.change(after, &after.changed_since(before)));
    baseline.sweep().iter().for_each(apply);
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("tools print UTF-8")
}

/// What the kernel holds, as the tool lists it; in no order, because neither chains nor elements have one.
fn listed(tool: Tool) -> BTreeMap<String, usize> {
    let text = match tool {
        Tool::Restore(variant, family) => output(Tool::Save(variant, family).program(), &[]),
        Tool::Save(..) | Tool::Nft => output("nft", &["list", "ruleset"]).replace(",\n", ",\nelements = "),
    };
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        // An element has a line of its own or shares one.
        let parts: Vec<&str> = if line.contains("elements = ") {
            line.split([',', '{', '}']).map(|part| part.trim().trim_start_matches("elements = ")).collect()
        } else {
            vec![line]
        };
        parts.into_iter().filter(|part| !part.is_empty()).for_each(|part| {
            *lines.entry(part.to_owned()).or_default() += 1;
        });
    }
    lines
}

/// Rules in the kernel: in the table nat for iptables, all for nft.
fn rules_in_kernel(tool: Tool) -> usize {
    match tool {
        Tool::Restore(variant, family) => {
            let text = output(Tool::Save(variant, family).program(), &["-t", "nat"]);
            text.lines().filter(|line| line.starts_with("-A")).count()
        }
        // Whatever has a handle and does not open a block is a rule.
        Tool::Save(..) | Tool::Nft => {
            let text = output("nft", &["-a", "list", "ruleset"]);
            text.lines().filter(|line| line.contains("# handle") && !line.contains("{ # handle")).count()
        }
    }
}

#[test]
fn the_kernel_holds_as_many_rules_as_were_counted() {
    for_each_layout(|name, baseline, family| {
        let script = baseline.cold(&of_each_kind(family));
        apply(&script);
        let counted = match script.tool {
            // Three of the hooks are in the table nat.
            Tool::Restore(..) => script.counts.nat_rules + 3,
            Tool::Save(..) | Tool::Nft => script.counts.rules,
        };
        assert_eq!(rules_in_kernel(script.tool), counted, "{name}");
    });
}

#[test]
fn a_change_leaves_what_a_cold_start_makes() {
    for_each_layout(|name, baseline, family| {
        if name.starts_with("nft-single-map") {
            return; // Which slot a backend has depends on what was there before.
        }
        let (before, after) = (of_each_kind(family), changed(family));
        let cold = baseline.cold(&after);
        apply(&cold);
        let want = listed(cold.tool);
        apply(&baseline.remove());
        apply(&baseline.cold(&before));
        apply_change(baseline, &before, &after);
        assert_eq!(listed(cold.tool), want, "{name}");
    });
}

/// What is listed of the single map that does not depend on the past: chains of sizes stay, slots are handed on.
fn without_past(lines: BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut elements = BTreeMap::new();
    for (line, count) in lines.into_iter().filter(|(line, _)| line.contains(" . ") && !line.contains('@')) {
        let line = match line.split_once(" : ") {
            Some((key, backend)) if key.matches(" . ").count() == 3 => {
                format!("{} : {backend}", key.rsplit_once(" . ").map_or(key, |(key, _)| key))
            }
            _ => line,
        };
        *elements.entry(line).or_default() += count;
    }
    elements
}

#[test]
fn many_changes_leave_what_a_cold_start_makes() {
    for_each_layout(|name, baseline, family| {
        let seed = u64::from(family == Family::V4) + 2 * name.len() as u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rules = Ruleset::new(family);
        let cold = baseline.cold(&rules);
        apply(&cold);
        for _ in 0..25 {
            let before = rules.clone();
            for _ in 0..random.usize(1..4) {
                let port = any_port(&mut random, family);
                if random.u8(0..4) == 0 { rules.remove(&port.name.service) } else { rules.insert(port) }
            }
            apply(&baseline.change(&rules, &rules.changed_since(&before)));
            if random.bool() {
                baseline.sweep().iter().for_each(apply);
            }
        }
        baseline.sweep().iter().for_each(apply);
        let found = listed(cold.tool);
        apply(&baseline.remove());
        apply(&baseline.cold(&rules));
        let (mut found, mut want) = (found, listed(cold.tool));
        if name.starts_with("nft-single-map") {
            (found, want) = (without_past(found), without_past(want));
        }
        assert!(!want.is_empty(), "{name}");
        assert_eq!(found, want, "{name}, seed {seed}");
    });
}

#[test]
fn removal_leaves_nothing() {
    for_each_layout(|name, baseline, family| {
        let (before, after) = (of_each_kind(family), changed(family));
        apply(&baseline.cold(&before));
        let change = baseline.change(&after, &after.changed_since(&before));
        apply(&change);
        apply(&baseline.remove());
        let left: Vec<_> = listed(change.tool).into_keys().filter(|line| line.contains("KUBE-")).collect();
        assert_eq!((rules_in_kernel(change.tool), left), (0, vec![]), "{name}");
    });
}

#[test]
fn connections_find_the_endpoints_of_their_service() {
    for_each_layout(|name, baseline, family| {
        let (before, after) = (of_each_kind(family), changed(family));
        serve(family);
        let pods = |last: &[u32]| last.iter().map(|last| addr(family, PODS, *last)).collect::<BTreeSet<_>>();
        let [web, idle] = [1, 4].map(|last| SocketAddr::new(addr(family, SERVICES, last), 80));
        let external = SocketAddr::new(addr(family, OUTSIDE, 2), 80);
        let node_port = SocketAddr::new(addr(family, NODES, 1), 30_080);
        apply(&baseline.cold(&before));
        assert_eq!(answering(web, FLOWS), pods(&[1, 2, 3]), "{name}: a ClusterIP");
        assert_eq!(answering(node_port, FLOWS), pods(&[4, 5]), "{name}: a NodePort, dialled on the node");
        let load_balancer = SocketAddr::new(addr(family, OUTSIDE, 1), 80);
        assert_eq!(
            answering(load_balancer, FLOWS),
            pods(&[4, 5]),
            "{name}: a load balancer's IP, from an allowed source"
        );
        let affine = answering(external, 1);
        assert!(affine.is_subset(&pods(&[6, 7])), "{name}: an external IP");
        if name.starts_with("nft-single-map") {
            assert_eq!(answering(external, FLOWS), pods(&[6, 7]), "{name}: affinity is not carried");
        } else {
            assert_eq!(answering(external, 10), affine, "{name}: affinity");
        }
        let refused = dial(idle).expect_err("a Service without endpoints");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{name}: {refused}");
        apply_change(baseline, &before, &after);
        assert_eq!(answering(web, FLOWS), pods(&[1, 2, 9]), "{name}: after a change");
    });
}

/// Gives the namespace all addresses of the pods and the node, a way for what is dialled to leave by, and one server.
fn serve(family: Family) {
    let (flag, bits) = match family {
        Family::V4 => ("-4", 32),
        Family::V6 => ("-6", 128),
    };
    let ip = |args: &[&str]| output("ip", &[&[flag], args].concat());
    // Not by lo: the kernel sends no ICMP error about what leaves there.
    ip(&["link", "add", "uplink", "type", "veth", "peer", "name", "nowhere"]);
    for link in ["lo", "uplink", "nowhere"] {
        ip(&["link", "set", link, "up"]);
    }
    let pods = (1..=10).map(|last| addr(family, PODS, last));
    for addr in pods.chain([addr(family, NODES, 1)]) {
        let nodad: &[&str] = if family == Family::V6 { &["nodad"] } else { &[] };
        ip(&[&["addr", "add", &format!("{addr}/{bits}"), "dev", "lo"], nodad].concat());
    }
    ip(&["route", "add", "default", "dev", "uplink", "src", &addr(family, NODES, 1).to_string()]);
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let listener = TcpListener::bind((any, 8080)).expect("the namespace is new");
    // Ends with the process.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let here = stream.local_addr().map(|here| here.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(here.as_bytes());
        }
    });
}

/// The address of who answers.
fn dial(to: SocketAddr) -> io::Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.parse().map_err(io::Error::other)
}

/// Who answers in so many flows.
fn answering(to: SocketAddr, flows: usize) -> BTreeSet<IpAddr> {
    (0..flows).map(|_| dial(to).unwrap_or_else(|error| panic!("{to}: {error}"))).collect()
}
