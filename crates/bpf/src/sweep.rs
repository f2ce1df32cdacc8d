//! Removes flows that were idle for too long from the tables of established flows. The programs treat them as absent already,
//! and the LRU tables look after themselves; here it is only room that is won.
use crate::map::{Cursor, Map};
use crate::pins::Pins;
use sheave_abi::{FLOW_EGRESS, FLOW_INGRESS, FlowKeyV4, FlowKeyV6, FlowValue};
use sheave_dataplane::Room;
use std::io;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Steps from the beginning of one walk over a table to that of the next. The kernel looks at every bucket, also of an empty table: 2 ms for
/// a million of them, which an idle agent would spend with each step.
pub const WALK_STEPS_MIN: u32 = 30;

/// Walks the tables piece by piece, round after round.
#[derive(Debug)]
pub struct Sweeper {
    v4: Walk<FlowKeyV4>,
    v6: Walk<FlowKeyV6>,
}

/// What one step has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Entries looked at.
    pub looked: usize,
    /// Entries removed.
    pub removed: usize,
}

#[derive(Debug)]
struct Walk<K> {
    table: Map<K, FlowValue>,
    /// The LRU table: where a flow's other entry is while the pair moves.
    half: Map<K, FlowValue>,
    cursor: Cursor,
    /// Entries that stay, of those looked at since the walk began at the start of the table.
    counted: u64,
    /// Those of the last walk that came to the end.
    held: Option<u64>,
    /// Steps since the walk began.
    steps: u32,
}

/// A key from which its partner's can be made.
pub(crate) trait FlowKey: FromBytes + IntoBytes + Immutable + Copy {
    fn protocol(&self) -> u8;
    /// The hook at which its packets are seen.
    fn hook(&self) -> u8;
    /// The key of the flow's other entry, by what this one's packets are rewritten to.
    fn partner(&self, flow: &FlowValue) -> Self;
}

impl Sweeper {
    /// Opens the tables that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(bpffs: &Path) -> io::Result<Self> {
        let maps = Pins::new(bpffs).maps();
        Ok(Self {
            v4: Walk::open(&maps.join("flows_v4"), &maps.join("flows_v4_half"))?,
            v6: Walk::open(&maps.join("flows_v6"), &maps.join("flows_v6_half"))?,
        })
    }

    /// Looks at about `entries` entries of each table, where the last step ended, and removes those of flows that are idle in
    /// both directions at `now_ns` (see [`monotonic_ns`]). At the end of a table a later step starts at its beginning
    /// ([`WALK_STEPS_MIN`]).
    ///
    /// # Errors
    /// As bpf(2).
    pub fn step(&mut self, entries: usize, now_ns: u64) -> io::Result<Swept> {
        let (v4, v6) = (self.v4.step(entries, now_ns)?, self.v6.step(entries, now_ns)?);
        Ok(Swept { looked: v4.looked + v6.looked, removed: v4.removed + v6.removed })
    }

    /// How full the tables of established flows were when the last walk over each came to its end; a table of which none has
    /// is left out. A flow takes two entries.
    #[must_use]
    pub fn rooms(&self, flows_max: u32) -> Vec<Room> {
        let room = |map, held: Option<u64>| held.map(|used| Room { map, used, max: flows_max.into() });
        [room("flows_v4", self.v4.held), room("flows_v6", self.v6.held)].into_iter().flatten().collect()
    }
}

impl<K: FlowKey> Walk<K> {
    fn open(table: &Path, half: &Path) -> io::Result<Self> {
        Ok(Self {
            table: Map::open(table)?,
            half: Map::open(half)?,
            cursor: Cursor::default(),
            counted: 0,
            held: None,
            steps: 0,
        })
    }

    fn step(&mut self, entries: usize, now_ns: u64) -> io::Result<Swept> {
        self.steps += 1;
        if self.cursor.is_start() && self.held.is_some() {
            if self.steps <= WALK_STEPS_MIN {
                return Ok(Swept::default());
            }
            self.steps = 1;
        }
        let found = self.table.next_entries(&mut self.cursor, entries)?;
        let mut swept = Swept { looked: found.len(), removed: 0 };
        for (key, flow) in found {
            // The batch was read a while ago: the key may have become a flow that has just begun.
            if self.is_dead(&key, &flow, now_ns)?
                && let Some(flow) = self.table.get(&key)?
                && self.is_dead(&key, &flow, now_ns)?
            {
                // A program may have removed it meanwhile.
                swept.removed += usize::from(self.table.delete(&key).is_ok());
            }
        }
        self.counted += (swept.looked - swept.removed) as u64;
        if self.cursor.is_start() {
            self.held = Some(std::mem::take(&mut self.counted));
        }
        Ok(swept)
    }

    fn is_dead(&self, key: &K, flow: &FlowValue, now_ns: u64) -> io::Result<bool> {
        let protocol = key.protocol();
        if !flow.is_idle(protocol, now_ns) {
            return Ok(false);
        }
        let partner = key.partner(flow);
        for table in [&self.table, &self.half] {
            if table.get(&partner)?.is_some_and(|partner| !partner.is_idle(protocol, now_ns)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The clock of [`FlowValue::seen_ns`].
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` has room for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let part = |part: i64| u64::try_from(part).expect("invariant: this clock counts from boot");
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// What an entry rewrites to, turned round, at the other hook.
macro_rules! flow_key {
    ($key:ty, $len:literal) => {
        impl FlowKey for $key {
            fn protocol(&self) -> u8 {
                self.protocol
            }

            fn hook(&self) -> u8 {
                self.hook
            }

            fn partner(&self, flow: &FlowValue) -> Self {
                let (mut src, mut dst) = ([0; $len], [0; $len]);
                src.copy_from_slice(&flow.dst[..$len]);
                dst.copy_from_slice(&flow.src[..$len]);
                let hook = if self.hook == FLOW_INGRESS { FLOW_EGRESS } else { FLOW_INGRESS };
                Self { src, dst, src_port: flow.dst_port, dst_port: flow.src_port, hook, ..*self }
            }
        }
    };
}
flow_key!(FlowKeyV4, 4);
flow_key!(FlowKeyV6, 16);
