//! Going away without cutting a flow: nothing new is decided any more, and what is under way goes on until it ends.
//!
//! What a device translates ends with the programs. So before they go, the frontends do: from then on the next proxy decides what is new,
//! and the programs only follow the flows they know.
use crate::cleanup::CleanupError;
use crate::growing::Growing;
use crate::map::{Cursor, Map};
use crate::pins::Pins;
use crate::sweep::FlowKey;
use sheave_abi::{
    FLOW_CLIENT_SIDE, FLOW_CLOSING, FLOW_DIVERTED, FLOW_FIN_BACKEND, FLOW_FIN_CLIENT, FLOW_FOREIGN, FLOW_HALF_OPEN,
    FLOW_INGRESS, FLOW_PENDING, FLOW_RESET, FLOW_SILENT_NS, FlowKeyV4, FlowKeyV6, FlowValue, FrontendKeyV4,
    FrontendKeyV6, FrontendValue, IPPROTO_SCTP, IPPROTO_TCP, NetPort, RangeKeyV4, RangeKeyV6,
};
use std::fs::File;
use std::io;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A handshake that was under way when the frontends went is over by then, or its SYN comes again and is the next proxy's.
const HANDSHAKE_NS: i64 = 10_000_000_000;
/// Entries read at once.
const PIECE: usize = 4096;

/// A node's dataplane that decides nothing new.
#[derive(Debug)]
pub struct Drain {
    v4: [Map<FlowKeyV4, FlowValue>; 2],
    v6: [Map<FlowKeyV6, FlowValue>; 2],
    /// No agent starts meanwhile, which would put the frontends back.
    _lock: File,
}

/// Flows that are under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnderWay {
    /// TCP.
    pub tcp: usize,
    /// UDP.
    pub udp: usize,
    /// SCTP.
    pub sctp: usize,
}

impl UnderWay {
    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Drain {
    /// Takes the frontends away. `None` where nothing is pinned: there is nothing to wait for.
    ///
    /// # Errors
    /// An agent runs, or the maps cannot be read or written; what was taken away by then stays away.
    pub fn begin(bpffs: &Path) -> Result<Option<Self>, CleanupError> {
        let pins = Pins::new(bpffs);
        let maps = pins.maps();
        let lock = match pins.lock() {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CleanupError::Locked { path: pins.root().to_owned(), source }),
        };
        if !maps.exists() {
            return Ok(None);
        }
        let begin = || -> io::Result<Self> {
            let table = |name: &str| maps.join(name);
            empty(&table("ranges_v4"), |key: &RangeKeyV4| key.service == 0)?;
            empty(&table("ranges_v6"), |key: &RangeKeyV6| key.service == 0)?;
            // A claim outlives none of its frontends: a flow in between would be rejected (A2).
            for is_claim in [true, false] {
                let of = |port: NetPort| (port == NetPort::ANY) == is_claim;
                empty_frontends(&table("frontends_v4"), |key: &FrontendKeyV4| of(key.port))?;
                empty_frontends(&table("frontends_v6"), |key: &FrontendKeyV6| of(key.port))?;
            }
            Ok(Self {
                v4: [Map::open(&table("flows_v4"))?, Map::open(&table("flows_v4_half"))?],
                v6: [Map::open(&table("flows_v6"))?, Map::open(&table("flows_v6_half"))?],
                _lock: lock,
            })
        };
        begin().map(Some).map_err(|source| CleanupError::Drain { path: maps.clone(), source })
    }

    /// The flows that a device still translates at `now_ns` ([`crate::sweep::monotonic_ns`]). TCP that both sides have closed or one
    /// has reset is none, nor is what one side has closed and was silent for two minutes, nor a handshake that nobody goes on with, nor what
    /// was idle for too long.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn under_way(&self, now_ns: u64) -> io::Result<UnderWay> {
        let mut under_way = UnderWay::default();
        count(&self.v4, now_ns, &mut under_way)?;
        count(&self.v6, now_ns, &mut under_way)?;
        Ok(under_way)
    }
}

fn count<K: FlowKey>(tables: &[Map<K, FlowValue>; 2], now_ns: u64, under_way: &mut UnderWay) -> io::Result<()> {
    for table in tables {
        let mut cursor = Cursor::default();
        loop {
            for (key, flow) in table.next_entries(&mut cursor, PIECE)? {
                if is_counted(&key, &flow) && is_kept_up(tables, &key, &flow, now_ns)? {
                    let of_protocol = match key.protocol() {
                        IPPROTO_TCP => &mut under_way.tcp,
                        IPPROTO_SCTP => &mut under_way.sctp,
                        _ => &mut under_way.udp,
                    };
                    *of_protocol += 1;
                }
            }
            if cursor.is_start() {
                break;
            }
        }
    }
    Ok(())
}

/// One entry of each flow: the client's, where its destination is translated.
fn is_counted<K: FlowKey>(key: &K, flow: &FlowValue) -> bool {
    let is_first = key.hook() == FLOW_INGRESS || flow.role & FLOW_DIVERTED != 0;
    is_first
        && flow.role & FLOW_CLIENT_SIDE != 0
        && flow.role & (FLOW_PENDING | FLOW_FOREIGN) == 0
        && !matches!(flow.state, FLOW_CLOSING | FLOW_RESET)
}

fn is_kept_up<K: FlowKey>(tables: &[Map<K, FlowValue>; 2], key: &K, flow: &FlowValue, now_ns: u64) -> io::Result<bool> {
    let protocol = key.protocol();
    let is_over = |flow: &FlowValue| match flow.state {
        FLOW_HALF_OPEN => flow.idle_ns(now_ns) > HANDSHAKE_NS,
        _ => flow.is_idle(protocol, now_ns),
    };
    // Half closed may be for good: when both ends close in one moment on two processors, one may not see what the other noted.
    let is_silent = |flow: &FlowValue| {
        flow.flags & (FLOW_FIN_CLIENT | FLOW_FIN_BACKEND) != 0 && flow.idle_ns(now_ns) > FLOW_SILENT_NS.cast_signed()
    };
    let lives = |flow: &FlowValue| !is_over(flow) && !is_silent(flow);
    if lives(flow) {
        return Ok(true);
    }
    let partner = key.partner(flow);
    for table in tables {
        if table.get(&partner)?.is_some_and(|partner| lives(&partner)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn empty_frontends<K>(path: &Path, is_chosen: impl Fn(&K) -> bool) -> io::Result<()>
where
    K: IntoBytes + FromBytes + Immutable,
{
    remove_keys::<K, FrontendValue>(Growing::open(path)?.table(), is_chosen)
}

fn empty<K>(path: &Path, is_chosen: impl Fn(&K) -> bool) -> io::Result<()>
where
    K: IntoBytes + FromBytes + Immutable,
{
    remove_keys::<K, u32>(&Map::open(path)?, is_chosen)
}

fn remove_keys<K, V>(map: &Map<K, V>, is_chosen: impl Fn(&K) -> bool) -> io::Result<()>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    let chosen = map.entries()?.into_iter().map(|(key, _)| key).filter(|key| is_chosen(key));
    chosen.into_iter().try_for_each(|key| map.delete(&key))
}
