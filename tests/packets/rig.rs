//! The programs loaded beside maps of their own, and the counters watched: every packet's whole counter delta is checked.
use crate::frame::{Frame, Seen};
use ipnet::IpNet;
use sheave_abi::{BackendId, DeviceValue, ServiceFlows, ServiceId, SetWord};
use sheave_bpf::counters::Counters;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::flow_counts::FlowCounts;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_bpf::map::Map;
use sheave_bpf::maps::Maps as _;
use sheave_bpf::ops::{AddrUse, BackendEntry, MapOp, RulesEntry, ServiceEntry};
use sheave_bpf::pins::Pins;
use sheave_bpf::test_run::{Metadata, Run, test_run, test_run_with};
use sheave_core::rules::LocalPods;
use sheave_core::{Backend, Family, Frontend, FrontendKind, Port, Protocol};
use sheave_lab::{Device, Sandbox, Stand};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

/// What programs return.
pub(crate) const NEXT: i32 = -1;
pub(crate) const DROP: i32 = 2;
pub(crate) const REDIRECT: i32 = 7;

pub(crate) const BPFFS: &str = "/sys/fs/bpf";
/// Entries of the tables of established flows: little, so that loading is quick.
pub(crate) const FLOWS_MAX: u32 = 1 << 12;

/// Addresses of one family that tests use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    v4: bool,
}

pub(crate) const NETS: [Net; 2] = [Net { v4: true }, Net { v4: false }];

impl Net {
    /// A Service id for this family.
    pub(crate) fn service(self) -> u32 {
        if self.v4 { 4 } else { 6 }
    }

    fn at(self, v4: [u8; 4], v6: u16, host: u16, port: u16) -> SocketAddr {
        let ip: IpAddr = if self.v4 {
            [v4[0], v4[1], u8::try_from(host >> 8).unwrap(), u8::try_from(host & 0xff).unwrap()].into()
        } else {
            [0xfd00, v6, 0, 0, 0, 0, 0, host].into()
        };
        SocketAddr::new(ip, port)
    }

    pub(crate) fn client(self, port: u16) -> SocketAddr {
        self.at([10, 1, 0, 0], 1, 2, port)
    }

    pub(crate) fn vip(self, n: u16, port: u16) -> SocketAddr {
        self.at([10, 96, 0, 0], 0x96, n, port)
    }

    /// An address of the node's own.
    pub(crate) fn node(self, n: u16, port: u16) -> SocketAddr {
        self.at([10, 3, 0, 0], 3, n, port)
    }

    /// A host outside the cluster.
    pub(crate) fn outside(self, n: u16, port: u16) -> SocketAddr {
        self.at([192, 168, 0, 0], 0x192, n, port)
    }

    /// What the node knows of a device it sends by from this address; both families' fields hold it or zeros.
    pub(crate) fn device(self, n: u16) -> DeviceValue {
        match self.node(n, 0).ip() {
            IpAddr::V4(addr) => DeviceValue { addr_v4: addr.octets(), ..DeviceValue::default() },
            IpAddr::V6(addr) => DeviceValue { addr_v6: addr.octets(), ..DeviceValue::default() },
        }
    }

    pub(crate) fn backend(self, n: u16, port: u16) -> SocketAddr {
        self.at([10, 2, 0, 0], 2, n, port)
    }
}

/// What a packet became.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) verdict: i32,
    pub(crate) bytes: Vec<u8>,
}

impl Out {
    pub(crate) fn seen(&self) -> Seen {
        Seen::read(&self.bytes)
    }
}

/// Flows of all Services and of all backends of the rig.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Flows {
    services: ServiceFlows,
    backends: u64,
}

pub(crate) struct Rig {
    pub(crate) programs: Programs,
    pub(crate) maps: KernelMaps,
    counters: Counters,
    before: Vec<(&'static str, u64)>,
    flows: FlowCounts,
    flows_before: Flows,
    /// What packets have besides their bytes from now on.
    pub(crate) metadata: Metadata,
    services: HashMap<ServiceId, ServiceEntry>,
    next_backend: u32,
    next_slot: u32,
}

/// Runs a test with a rig of its own, in namespaces of its own; without root it is skipped, and says so.
pub(crate) fn with_rig(name: &str, test: impl FnOnce(&mut Rig) + Send + 'static) {
    with_sized_rig(name, FLOWS_MAX, test);
}

/// Runs a test with a rig of its own for each family.
pub(crate) fn in_both(name: &str, test: fn(&mut Rig, Net)) {
    for net in NETS {
        with_rig(name, move |rig| test(rig, net));
    }
}

/// As [`with_rig`], with room for more established flows.
pub(crate) fn with_sized_rig(name: &str, flows_max: u32, test: impl FnOnce(&mut Rig) + Send + 'static) {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs(name).unwrap();
    sandbox.run(move || test(&mut Rig::new(flows_max))).unwrap();
}

/// As [`with_rig`], in a namespace that forwards, with these IPv4 networks behind the loopback device.
pub(crate) fn with_routes(name: &str, networks: &[IpNet], test: impl FnOnce(&mut Rig) + Send + 'static) {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs(name).unwrap();
    sandbox.route_by_loopback(networks).unwrap();
    let run = move || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        test(&mut Rig::new(FLOWS_MAX));
    };
    sandbox.run(run).unwrap();
}

/// As [`with_rig`], on a node that forwards and has the devices `up0` and `up1`, with routes as these lines of `ip` make them.
pub(crate) fn with_devices(name: &str, lines: &[&str], test: impl FnOnce(&mut Rig, [Device; 2]) + Send + 'static) {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let mut stand = Stand::new(name).unwrap();
    let devices = ["up0", "up1"].map(|device| stand.add_device(device).unwrap());
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let run = move || {
        lines.iter().for_each(|line| ip(line));
        test(&mut Rig::new(FLOWS_MAX), devices);
    };
    stand.sandbox().run(run).unwrap();
}

/// Changes this thread's network namespace, by a line for `ip`.
pub(crate) fn ip(line: &str) {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Rig {
    fn new(flows_max: u32) -> Self {
        let bpffs = Path::new(BPFFS);
        let limits = Limits { frontends_max: 1 << 12, services_max: 1 << 12, ..Limits::default() };
        let programs = Loader::new(bpffs, limits, flows_max, SocketLb::All).load().unwrap_or_else(|e| panic!("{e:#?}"));
        let maps = KernelMaps::open(bpffs).unwrap();
        let counters = Counters::open(bpffs).unwrap();
        let before = counters.read().unwrap();
        Self {
            programs,
            maps,
            counters,
            before,
            flows: FlowCounts::open(bpffs).unwrap(),
            flows_before: Flows::default(),
            metadata: Metadata::default(),
            services: HashMap::new(),
            next_backend: 1,
            next_slot: 1,
        }
    }

    /// A Service with these backends behind a frontend; returns their ids. Written in the order that keeps I1.
    pub(crate) fn service(
        &mut self,
        service: u32,
        vip: SocketAddr,
        protocol: Protocol,
        backends: &[SocketAddr],
    ) -> Vec<BackendId> {
        let service = service_id(service);
        let ids = self.write_set(service, backends);
        self.exec(&MapOp::PutFrontend { frontend: frontend(vip, protocol), kind: FrontendKind::ClusterIp, service });
        ids
    }

    /// Gives a Service a new Cluster set, and an empty Local one.
    pub(crate) fn write_set(&mut self, service: ServiceId, backends: &[SocketAddr]) -> Vec<BackendId> {
        self.write_sets(service, backends, &[])
    }

    /// Gives a Service new sets; returns the ids, those of the Cluster set first.
    pub(crate) fn write_sets(
        &mut self,
        service: ServiceId,
        cluster: &[SocketAddr],
        local: &[SocketAddr],
    ) -> Vec<BackendId> {
        let all: Vec<SocketAddr> =
            cluster.iter().chain(local.iter().filter(|backend| !cluster.contains(backend))).copied().collect();
        let entries: Vec<_> = all
            .iter()
            .map(|backend| {
                let (in_cluster, in_local) = (cluster.contains(backend), local.contains(backend));
                (self.new_id(), BackendEntry { in_cluster, in_local, ..entry(service, *backend, true) })
            })
            .collect();
        let ids: Vec<_> = entries.iter().map(|(id, _)| *id).collect();
        if let Some(backend) = all.first() {
            self.exec(&MapOp::WriteBackends { family: Family::of(backend.ip()), entries });
        }
        let of = |backends: &[SocketAddr]| -> Vec<BackendId> {
            let at = |backend| all.iter().position(|other| *other == backend).unwrap();
            backends.iter().map(|backend| ids[at(*backend)]).collect()
        };
        let words = [of(cluster), of(local)].map(|ids| self.write_block(ids));
        self.amend(service, |entry| (entry.cluster, entry.local) = (words[0], words[1]));
        ids
    }

    fn write_block(&mut self, ids: Vec<BackendId>) -> SetWord {
        let word = SetWord { block: self.next_slot, count: u32::try_from(ids.len()).unwrap() };
        self.next_slot += word.count;
        if !ids.is_empty() {
            self.exec(&MapOp::WriteSlots { first: word.block, ids });
        }
        word
    }

    /// Changes what is known of a Service.
    pub(crate) fn amend(&mut self, service: ServiceId, change: impl FnOnce(&mut ServiceEntry)) {
        if !self.services.contains_key(&service) {
            let key = format!("rig/{}:/TCP/IPv4", service.0).parse().unwrap();
            self.exec(&MapOp::PutName { service, key });
        }
        let mut entry = self.services.get(&service).copied().unwrap_or_default();
        change(&mut entry);
        self.services.insert(service, entry);
        self.exec(&MapOp::WriteService { service, entry });
    }

    /// One more way to a Service.
    pub(crate) fn lead(&mut self, service: ServiceId, addr: SocketAddr, protocol: Protocol, kind: FrontendKind) {
        self.exec(&MapOp::PutFrontend { frontend: frontend(addr, protocol), kind, service });
    }

    /// Says what an address is to the node.
    pub(crate) fn node_addr(&mut self, addr: IpAddr, own: bool, node_ports: bool) {
        self.exec(&MapOp::PutAddr { addr, uses: AddrUse { own, node_ports } });
    }

    /// Says what holds for the node.
    pub(crate) fn rules(&mut self, masquerade_all: bool, local_pods: LocalPods) {
        self.exec(&MapOp::WriteRules { rules: RulesEntry { masquerade_all, local_pods } });
    }

    /// As [`Rig::ingress`] and [`Rig::egress`], of a frame at a device, addressed to it.
    #[track_caller]
    pub(crate) fn by(&mut self, program: &str, device: Device, frame: &Frame, counted: &str) -> Out {
        let frame = Frame { mac: device.mac, ..frame.clone() };
        self.at(program, Metadata { ifindex: device.index, ..Metadata::default() }, &frame.bytes(), &[counted])
    }

    /// Says what is known of a device.
    pub(crate) fn device(&self, ifindex: u32, value: DeviceValue) {
        let devices: Map<u32, DeviceValue> = Map::open(&Pins::new(Path::new(BPFFS)).maps().join("devices")).unwrap();
        devices.put(&ifindex, &value).unwrap();
    }

    /// As [`Rig::ingress`] and [`Rig::egress`], of a packet at another device.
    #[track_caller]
    pub(crate) fn at(&mut self, program: &str, metadata: Metadata, bytes: &[u8], counted: &[&str]) -> Out {
        let before = std::mem::replace(&mut self.metadata, metadata);
        let out = self.run(program, bytes, counted);
        self.metadata = before;
        out
    }

    /// How the kernel refuses to run a program on a packet that has this; `None` if it does not.
    pub(crate) fn refuses(&mut self, metadata: Metadata, bytes: &[u8]) -> Option<std::io::ErrorKind> {
        let ran = test_run_with(self.programs.device_fd("ingress").unwrap(), bytes, 1, metadata);
        self.before = self.counters.read().unwrap();
        ran.err().map(|error| error.kind())
    }

    /// Ends a backend: no flow may name it any more (L2).
    pub(crate) fn retire(&mut self, service: u32, id: BackendId, backend: SocketAddr) {
        let entries = vec![(id, entry(service_id(service), backend, false))];
        self.exec(&MapOp::WriteBackends { family: Family::of(backend.ip()), entries });
    }

    /// Makes an id name another endpoint.
    pub(crate) fn rewrite(&mut self, service: u32, id: BackendId, backend: SocketAddr) {
        let entries = vec![(id, entry(service_id(service), backend, true))];
        self.exec(&MapOp::WriteBackends { family: Family::of(backend.ip()), entries });
    }

    /// A frame goes out, whatever is counted.
    pub(crate) fn egress_uncounted(&mut self, frame: &Frame) -> Out {
        let ran = test_run(self.programs.device_fd("egress").unwrap(), &frame.bytes(), 1).unwrap();
        self.before = self.counters.read().unwrap();
        self.flows_before = self.count_flows();
        Out { verdict: ran.verdict, bytes: ran.packet }
    }

    pub(crate) fn exec(&mut self, op: &MapOp) {
        self.maps.exec(op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    }

    /// The same, of an operation that counts anew.
    pub(crate) fn exec_uncounted(&mut self, op: &MapOp) {
        self.exec(op);
        self.flows_before = self.count_flows();
    }

    fn new_id(&mut self) -> BackendId {
        let id = BackendId(NonZeroU32::new(self.next_backend).unwrap());
        self.next_backend += 1;
        id
    }

    /// A frame comes in; exactly these counters must go up by one.
    #[track_caller]
    pub(crate) fn ingress(&mut self, frame: &Frame, counted: &[&str]) -> Out {
        self.run("ingress", &frame.bytes(), counted)
    }

    /// A frame goes out; exactly these counters must go up by one.
    #[track_caller]
    pub(crate) fn egress(&mut self, frame: &Frame, counted: &[&str]) -> Out {
        self.run("egress", &frame.bytes(), counted)
    }

    /// As [`Rig::egress`], for counters that go up by more.
    #[track_caller]
    pub(crate) fn egress_with_events(&mut self, frame: &Frame, want: &[(&str, u64)]) -> Out {
        self.run_counted("egress", &frame.bytes(), want)
    }

    /// As [`Rig::ingress`], for counters that go up by more.
    #[track_caller]
    pub(crate) fn ingress_with_events(&mut self, frame: &Frame, want: &[(&str, u64)]) -> Out {
        self.run_counted("ingress", &frame.bytes(), want)
    }

    #[track_caller]
    pub(crate) fn run(&mut self, program: &str, bytes: &[u8], counted: &[&str]) -> Out {
        let want: Vec<(&str, u64)> = counted.iter().map(|name| (*name, 1)).collect();
        self.run_counted(program, bytes, &want)
    }

    /// As [`Rig::run`], of a packet to be cut into segments further down.
    #[track_caller]
    pub(crate) fn run_gso(&mut self, program: &str, bytes: &[u8], counted: &str) -> Out {
        let ran = test_run_with(
            self.programs.device_fd(program).unwrap(),
            bytes,
            1,
            Metadata { gso_size: 1000, ..self.metadata },
        )
        .unwrap();
        self.check(ran, &[(counted, 1)])
    }

    #[track_caller]
    fn run_counted(&mut self, program: &str, bytes: &[u8], want: &[(&str, u64)]) -> Out {
        self.programs.load_device_program(program).unwrap();
        let ran = test_run_with(self.programs.device_fd(program).unwrap(), bytes, 1, self.metadata).unwrap();
        self.check(ran, want)
    }

    #[track_caller]
    fn check(&mut self, ran: Run, want: &[(&str, u64)]) -> Out {
        let Run { verdict, packet, .. } = ran;
        let after = self.counters.read().unwrap();
        let delta: Vec<(&str, u64)> =
            after.iter().zip(&self.before).map(|(a, b)| (a.0, a.1 - b.1)).filter(|(_, n)| *n > 0).collect();
        self.before = after;
        assert_eq!(delta, want, "counters");
        self.check_flows(&delta);
        Out { verdict, bytes: packet }
    }

    /// What is counted of Services and backends is what the counters say: each new flow once at either, each drop at its Service. A
    /// refusal is a Service's, or nobody's: of a port that its address does not have (A2).
    #[track_caller]
    fn check_flows(&mut self, delta: &[(&str, u64)]) {
        let (now, before) = (self.count_flows(), self.flows_before);
        self.flows_before = now;
        let counted = |name: &str| delta.iter().filter(|(counted, _)| counted.starts_with(name)).map(|(_, n)| n).sum();
        let rejected = now.services.rejected - before.services.rejected;
        assert!(rejected <= counted("reject_"), "{rejected} refusals of Services, of {delta:?}");
        let want = Flows {
            services: ServiceFlows {
                begun: before.services.begun + counted("flow_new"),
                rejected: now.services.rejected,
                no_local_endpoint: before.services.no_local_endpoint + counted("drop_no_local_endpoint"),
                source_range: before.services.source_range + counted("drop_source_range"),
            },
            backends: before.backends + counted("flow_new"),
        };
        assert_eq!(now, want, "flows by Service and by backend");
    }

    fn count_flows(&mut self) -> Flows {
        let mut sum = Flows::default();
        for service in self.services.keys() {
            let flows = self.flows.service(*service).unwrap();
            sum.services.begun += flows.begun;
            sum.services.rejected += flows.rejected;
            sum.services.no_local_endpoint += flows.no_local_endpoint;
            sum.services.source_range += flows.source_range;
        }
        let ids = (1..self.next_backend).filter_map(NonZeroU32::new).map(BackendId);
        let of = |flows: &mut FlowCounts, family, id| flows.backend(family, id).unwrap();
        sum.backends =
            ids.map(|id| Family::ALL.map(|family| of(&mut self.flows, family, id)).iter().sum::<u64>()).sum();
        sum
    }

    /// What is counted of a Service.
    pub(crate) fn service_flows(&mut self, service: u32) -> ServiceFlows {
        self.flows.service(service_id(service)).unwrap()
    }

    /// Flows of a backend.
    pub(crate) fn backend_flows(&mut self, family: Family, id: BackendId) -> u64 {
        self.flows.backend(family, id).unwrap()
    }

    /// No program of an entrance has run since the last packet of this rig.
    #[track_caller]
    pub(crate) fn assert_no_counter_moved(&self) {
        assert_eq!(self.counters.read().unwrap(), self.before, "counters");
    }

    /// What a counter holds.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counters.read().unwrap().into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    /// The counters' sum since the last look, without asking for which.
    pub(crate) fn count_run(&mut self, program: &str, bytes: &[u8]) -> u64 {
        test_run(self.programs.device_fd(program).unwrap(), bytes, 1).unwrap();
        let after = self.counters.read().unwrap();
        let sum =
            after.iter().zip(&self.before).filter(|(a, _)| !a.0.starts_with("event_")).map(|(a, b)| a.1 - b.1).sum();
        self.before = after;
        self.flows_before = self.count_flows();
        sum
    }
}

pub(crate) fn service_id(id: u32) -> ServiceId {
    ServiceId(NonZeroU32::new(id).unwrap())
}

pub(crate) fn frontend(vip: SocketAddr, protocol: Protocol) -> Frontend {
    Frontend { addr: vip.ip(), port: Port::new(vip.port()).unwrap(), protocol }
}

fn entry(service: ServiceId, backend: SocketAddr, serving: bool) -> BackendEntry {
    let backend = Backend { addr: backend.ip(), port: Port::new(backend.port()).unwrap() };
    BackendEntry { backend, service, serving, in_cluster: serving, in_local: false }
}
