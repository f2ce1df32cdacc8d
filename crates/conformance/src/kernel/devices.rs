//! The devices packets come in and leave by, and what the programs are told of them.
use super::KernelError;
use sheave_abi::{DEVICE_PODS, DEVICE_UPLINK, DeviceValue};
use sheave_bpf::device_table::DeviceTable;
use sheave_core::NodeRules;
use sheave_lab::{Device, Stand};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

/// What comes in by no device that has a name in the question comes in here, and what the node sends leaves here.
const UPLINK: &str = "uplink";
/// What is forwarded leaves here.
const INNER: &str = "inner";
/// Longest name of a device (`IFNAMSIZ`, less the zero at its end).
const NAME_MAX: usize = 15;

/// What masqueraded flows come from: addresses for measurements (RFC 2544, RFC 5180), which no case uses.
const MASQUERADE_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
const MASQUERADE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
pub(super) const MASQUERADE: [IpAddr; 2] = [IpAddr::V4(MASQUERADE_V4), IpAddr::V6(MASQUERADE_V6)];

/// The devices of the stand.
pub(super) struct Devices {
    stand: Stand,
    table: DeviceTable,
    named: BTreeMap<Arc<str>, Device>,
    rules: Arc<NodeRules>,
    /// Where a packet comes in of which it is not known.
    pub(super) uplink: Device,
    /// Where forwarded packets leave.
    pub(super) inner: Device,
}

impl Devices {
    pub(super) fn new(mut stand: Stand, bpffs: &Path) -> Result<Self, KernelError> {
        let uplink = stand.add_device(UPLINK)?;
        let inner = stand.add_device(INNER)?;
        stand.route_by(inner)?;
        let table = DeviceTable::open(bpffs)?;
        let mut devices = Self { stand, table, named: BTreeMap::new(), rules: Arc::default(), uplink, inner };
        devices.tell()?;
        Ok(devices)
    }

    /// Who is a pod's device follows from the rules of the node (R5).
    pub(super) fn follow(&mut self, rules: &Arc<NodeRules>) -> Result<(), KernelError> {
        self.rules = Arc::clone(rules);
        self.tell()
    }

    /// The device of a name, made when it is first asked for; `None` for a name that no device can have.
    pub(super) fn named(&mut self, name: &Arc<str>) -> Result<Option<Device>, KernelError> {
        if name.len() > NAME_MAX || [UPLINK, INNER].contains(&&**name) {
            return Ok(None);
        }
        if !self.named.contains_key(name) {
            let device = self.stand.add_device(name)?;
            self.named.insert(Arc::clone(name), device);
            self.tell()?;
        }
        Ok(self.named.get(name).copied())
    }

    fn tell(&mut self) -> Result<(), KernelError> {
        let of = |device: Device, flags: u32| (device.index, value(device, flags));
        let pods = |name: &str| if self.rules.local_pods.takes_device(name) { DEVICE_PODS } else { 0 };
        let named = self.named.iter().map(|(name, device)| of(*device, pods(name)));
        let wanted = named.chain([of(self.uplink, DEVICE_UPLINK), of(self.inner, 0)]).collect();
        self.table.update(&wanted)?;
        Ok(())
    }
}

fn value(device: Device, flags: u32) -> DeviceValue {
    let (addr_v4, addr_v6) = (MASQUERADE_V4.octets(), MASQUERADE_V6.octets());
    DeviceValue { flags, addr_v4, addr_v6, mac: device.mac, ..DeviceValue::default() }
}
