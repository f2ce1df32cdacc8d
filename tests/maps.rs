//! The kernel's maps: what was written is what is read back, so that an agent that starts again has nothing to write (I2, I5).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#[path = "../crates/dataplane/tests/decisions/world.rs"]
#[expect(dead_code, reason = "the packets of those worlds are not sent here")]
mod world;

use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sheave_abi::{CHUNKS_MAX, DEVICE_FALLBACK, DEVICE_UPLINK, DEVICES_MAX, DeviceValue};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::chunks::Chunks;
use sheave_bpf::device_table::DeviceTable;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_bpf::read_back::read_back;
use sheave_core::plan::plan_all;
use sheave_core::{Desired, Index, Realized, ServiceKey, Serving};
use sheave_dataplane::{Dataplane as _, Writes};
use sheave_lab::Sandbox;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use world::{NODE, config, event};

const BPFFS: &str = "/sys/fs/bpf";
const LIMITS: Limits =
    Limits { frontends_max: 1 << 12, services_max: 1 << 12, slots_max: 1 << 16, backends_max: 1 << 16 };

/// Runs a test beside maps of its own, in namespaces of its own.
fn with_maps(name: &str, test: impl FnOnce(Programs) + Send + 'static) {
    if !sheave_tests::kernel_or_skip("making maps needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs(name).unwrap();
    let load = || Loader::new(Path::new(BPFFS), LIMITS, 1 << 12, SocketLb::Off).load().unwrap();
    if let Err(panic) = sandbox.start("maps", move || test(load())).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn some<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

fn read() -> Image {
    let (image, strays) = read_back(Path::new(BPFFS)).unwrap();
    assert_eq!(strays, vec![]);
    image
}

/// All that is held, with the ids it is held under.
fn held(image: &Image) -> (BTreeMap<ServiceKey, Serving>, impl PartialEq + std::fmt::Debug) {
    let keys = image.keys();
    let serving = keys.iter().map(|key| (key.clone(), image.serving(key).unwrap())).collect();
    let ids: Vec<_> = keys.iter().map(|key| image.id(key).map(|id| (id, image.entry(id), image.members(id)))).collect();
    let settled: Vec<_> = keys.iter().map(|key| image.settled(key)).collect();
    (serving, (ids, settled, image.frontends(), image.vips(), image.rules(), image.slots_used()))
}

#[test]
fn whatever_was_written_is_read_back_and_nothing_is_left_to_write() {
    with_maps("maps-read-back", |_programs| {
        let mut runner = TestRunner::deterministic();
        let mut held_at_all = BTreeSet::new();
        for _ in 0..6 {
            // A start with other settings, on what the last one left.
            let config = some(&mut runner, config());
            let mut dataplane = BpfDataplane::new(read(), LIMITS, KernelMaps::open(Path::new(BPFFS)).unwrap());
            let (mut index, mut desired) = (Index::new(NODE), Desired::new(config));
            for _ in 0..12 {
                some(&mut runner, vec(event(), 1..8)).into_iter().for_each(|event| index.apply(event));
                let changed = index.take_changed();
                desired.update(&index, &changed);
                let applied = dataplane.apply(&plan_all(&desired, &dataplane));
                assert!(applied.pending.is_empty(), "{applied:?}");
                let image = read();
                assert_eq!(held(&image), held(dataplane.image()));
                assert!(plan_all(&desired, &image).is_empty(), "I2");
                note(&mut held_at_all, &image);
            }
        }
        let all = ["a rule", "affinity", "a kind", "a Local policy", "a local backend", "a source"];
        assert_eq!(held_at_all, BTreeSet::from(all), "else this says little");
    });
}

fn note(held: &mut BTreeSet<&str>, image: &Image) {
    let serving: Vec<_> = image.keys().iter().filter_map(|key| image.serving(key)).collect();
    let any = |has: fn(&Serving) -> bool| serving.iter().any(has);
    let noted = [
        ("a rule", image.rules().unwrap().own.len() > 1 && !image.rules().unwrap().service_cidrs.is_empty()),
        ("affinity", any(|s| s.affinity.is_some())),
        ("a kind", any(|s| s.frontends.iter().map(|(_, kind)| kind).collect::<BTreeSet<_>>().len() > 2)),
        ("a Local policy", any(|s| s.internal != s.external)),
        ("a local backend", any(|s| !s.local.is_empty())),
        ("a source", any(|s| s.sources.is_some())),
    ];
    held.extend(noted.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
}

/// What a process left that ended before it published them is made anew; what is there stays as it is (I3).
#[test]
fn chunks_that_are_made_at_once_are_all_that_were_missing() {
    const LEN: u32 = 4;
    with_maps("maps-reserved", |_programs| {
        let path = Path::new(BPFFS).join("reserved");
        let pin = |chunk: u32| PathBuf::from(format!("{}-{chunk}", path.display()));
        Chunks::<u32>::create_pinned("chunks", &path, LEN).unwrap();
        let mut chunks = Chunks::open(&path, LEN).unwrap();
        chunks.put_all(&[LEN, 2 * LEN + 1], &[7, 8]).unwrap();
        // A chunk that nobody finds, at the pin of one that is to come.
        std::fs::rename(pin(1), pin(3)).unwrap();
        let mut next = Chunks::<u32>::open(&path, LEN).unwrap();
        for (end, want) in [(0, 3), (1, 3), (3 * LEN, 3), (3 * LEN + 1, 4), (6 * LEN, 6)] {
            next.reserve_below(end).unwrap();
            let held = Chunks::<u32>::open(&path, LEN).unwrap().entries().unwrap();
            let there = if end == 0 { want - 1 } else { want };
            assert_eq!(held.len(), (there * LEN) as usize, "below {end}");
            let written: Vec<_> = held.into_iter().filter(|(_, value)| *value != 0).collect();
            assert_eq!(written, [(LEN, 7), (2 * LEN + 1, 8)], "below {end}");
        }
        next.put_all(&[3 * LEN, 5 * LEN], &[9, 10]).unwrap();
        assert_eq!(
            [3 * LEN, 5 * LEN].map(|index| chunks.get(index).unwrap()),
            [Some(9), Some(10)],
            "by another process"
        );
        let beyond = next.reserve_below(LEN * CHUNKS_MAX + 1).unwrap_err();
        assert_eq!(beyond.raw_os_error(), Some(7), "E2BIG");
        assert_eq!(next.get(LEN * CHUNKS_MAX - 1).unwrap(), Some(0), "all others are there");
    });
}

/// I5: what is not read back would be written anew, under other ids.
#[test]
fn every_chunk_is_read_back_whichever_there_are_and_whichever_have_lost_their_pin() {
    const LEN: u32 = 4;
    with_maps("maps-chunks", |_programs| {
        for (name, written, unpinned) in [
            ("none", &[][..], None),
            ("first", &[0, 3], None),
            ("several", &[1, LEN, 3 * LEN - 1], None),
            ("with-a-gap", &[2, 9 * LEN], None),
            ("not-the-first", &[5 * LEN + 1], None),
            ("without-a-pin", &[0, LEN, 2 * LEN], Some(1)),
            ("without-the-last-pin", &[0, LEN, 2 * LEN], Some(2)),
        ] {
            let path = Path::new(BPFFS).join(name);
            Chunks::<u32>::create_pinned("chunks", &path, LEN).unwrap();
            let mut chunks = Chunks::open(&path, LEN).unwrap();
            written.iter().for_each(|&index| chunks.put_all(&[index], &[index + 1]).unwrap());
            if let Some(chunk) = unpinned {
                std::fs::remove_file(format!("{}-{chunk}", path.display())).unwrap();
            }
            let entries = Chunks::<u32>::open(&path, LEN).unwrap().entries().unwrap();
            let got: Vec<_> = entries.into_iter().filter(|(_, value)| *value != 0).collect();
            let want: Vec<_> = written.iter().map(|&index| (index, index + 1)).collect();
            assert_eq!(got, want, "case: {name}");
        }
    });
}

#[test]
fn the_table_of_devices_is_written_where_it_differs_and_nowhere_else() {
    with_maps("maps-devices", |_programs| {
        let open = || DeviceTable::open(Path::new(BPFFS)).unwrap();
        let fallback = DeviceValue { addr_v4: [192, 0, 2, 1], ..DeviceValue::default() };
        let uplink = DeviceValue { flags: DEVICE_UPLINK, mac: [2, 0, 0, 0, 0, 1], ..fallback };
        let three = BTreeMap::from([(DEVICE_FALLBACK, fallback), (2, uplink), (7, DeviceValue::default())]);
        let moved = BTreeMap::from([(DEVICE_FALLBACK, fallback), (2, fallback), (9, uplink)]);
        let writes = |n| (Writes { ops: n, entries: n }, vec![]);
        let mut table = open();
        assert_eq!(table.update(&three).unwrap(), writes(3));
        assert_eq!(table.update(&three).unwrap(), writes(0), "an idle node writes nothing");
        // Another process, which begins with what is there.
        let mut table = open();
        assert_eq!(*table.held(), three);
        assert_eq!(table.update(&three).unwrap(), writes(0));
        assert_eq!(table.update(&moved).unwrap(), writes(3), "one gone, one changed, one new");
        assert_eq!(*open().held(), moved);
        // I7: what finds no room is named; the others are told, also of what changed.
        let mut most: BTreeMap<u32, DeviceValue> = (1..=DEVICES_MAX).map(|n| (n, fallback)).collect();
        table.update(&most).unwrap();
        assert_eq!((table.room().used, table.room().max), (16_384, 16_384));
        most.extend([(7, uplink), (DEVICES_MAX + 1, uplink), (DEVICES_MAX + 2, uplink)]);
        let one = Writes { ops: 1, entries: 1 };
        assert_eq!(table.update(&most).unwrap(), (one, vec![DEVICES_MAX + 1, DEVICES_MAX + 2]));
        most.retain(|device, _| *device > 2);
        assert_eq!(table.update(&most).unwrap().1, vec![], "two have gone");
        assert_eq!(*open().held(), most);
    });
}
