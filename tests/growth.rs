//! The kernel's hashes that grow: nothing is lost, whenever a process ends on the way (I3, I7), and nothing is written that is there (I2).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#[path = "../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_abi::{FlowKeyV4, FlowValue, FrontendKeyV4, FrontendKeyV6, FrontendValue, HASH_FIRST, ServiceNameValue};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::growing::{Growing, Step};
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_bpf::map::Map;
use sheave_bpf::ops::Hash;
use sheave_bpf::pins::Pins;
use sheave_bpf::read_back::read_back;
use sheave_core::plan::plan_all;
use sheave_core::{Desired, Family, Index, Realized};
use sheave_dataplane::{Dataplane as _, Writes};
use sheave_lab::Sandbox;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

const BPFFS: &str = "/sys/fs/bpf";
type Table = Growing<u32, u32>;

/// Runs a test on a BPF file system of its own, in namespaces of its own.
fn with_bpffs(name: &str, test: impl FnOnce() + Send + 'static) {
    if !sheave_tests::kernel_or_skip("making maps needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs(name).unwrap();
    if let Err(panic) = sandbox.start("growth", test).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// All that is in a pinned map.
fn held(map: &Map<u32, u32>) -> BTreeMap<u32, u32> {
    map.entries().unwrap().into_iter().collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn full(path: &Path) -> (Table, BTreeMap<u32, u32>) {
    Table::create_pinned("table", path).unwrap();
    let table = Table::open(path).unwrap();
    let entries: BTreeMap<u32, u32> = (0..HASH_FIRST).map(|n| (n, n * 7)).collect();
    let (keys, values): (Vec<u32>, Vec<u32>) = entries.iter().unzip();
    table.table().put_all(&keys, &values).unwrap();
    (table, entries)
}

/// What the step would have done is not done, and what the process held of the kernel is gone with it: as after SIGKILL.
#[test]
fn a_process_that_ends_at_any_step_of_a_growth_loses_nothing_and_the_next_one_goes_on() {
    with_bpffs("growth-steps", || {
        for (number, last) in Step::ALL.into_iter().enumerate() {
            let path = Path::new(BPFFS).join(format!("table{number}"));
            let (mut table, mut entries) = full(&path);
            assert_eq!(table.table().put(&HASH_FIRST, &1).unwrap_err().raw_os_error(), Some(7), "E2BIG");
            let stop = |step| if step == last { Err(io::Error::other("killed")) } else { Ok(()) };
            table.grow_unless(HASH_FIRST * 4, stop).unwrap_err();
            let grown = table.max_entries();
            drop(table);
            // Who only reads sees all of it before anybody has put things in order.
            assert_eq!(held(Table::open(&path).unwrap().table()), entries, "before {last:?}");

            Table::create_pinned("table", &path).unwrap();
            let mut table = Table::open(&path).unwrap();
            assert_eq!((held(table.table()), table.max_entries()), (entries.clone(), grown), "before {last:?}");
            table.grow(HASH_FIRST * 4).unwrap();
            table.table().put(&HASH_FIRST, &1).unwrap();
            entries.insert(HASH_FIRST, 1);
            // The pin is the hash that was written, so the privilege to open maps by their ids is not needed (CAP_SYS_ADMIN).
            let pinned = Map::open(&beside(&path, "-table")).unwrap();
            assert_eq!(held(&pinned), entries, "before {last:?}");
            assert!(!beside(&path, "-next").exists(), "before {last:?}");
        }
    });
}

/// The first hash is made in steps as well: the map, the hash, its pin, its place in the map.
#[test]
fn a_map_whose_making_was_cut_short_is_finished_by_the_next_process() {
    with_bpffs("growth-made", || {
        let path = Path::new(BPFFS).join("table");
        let (table, entries) = full(&path);
        drop(table);
        // A pin that was never published, and one that names no hash at all.
        std::fs::rename(beside(&path, "-table"), beside(&path, "-next")).unwrap();
        Table::create_pinned("table", &path).unwrap();
        assert_eq!(held(&Map::open(&beside(&path, "-table")).unwrap()), entries);
        std::fs::remove_file(&path).unwrap();
        Table::create_pinned("table", &path).unwrap();
        let made = Table::open(&path).unwrap();
        assert_eq!((held(made.table()), made.max_entries()), (BTreeMap::new(), HASH_FIRST), "the pin was nobody's");
    });
}

#[test]
fn what_is_written_and_removed_while_a_hash_grows_again_and_again_is_what_is_held() {
    with_bpffs("growth-again", || {
        let path = Path::new(BPFFS).join("table");
        let (mut table, mut entries) = full(&path);
        for growth in 1..=4_u32 {
            let room = HASH_FIRST << (2 * growth);
            table.grow(room).unwrap();
            table.grow(HASH_FIRST).unwrap();
            assert_eq!(table.max_entries(), room, "it never shrinks");
            let (first, last) = (room / 4, room / 2);
            let (keys, values): (Vec<u32>, Vec<u32>) = (first..last).map(|n| (n, n + growth)).unzip();
            table.table().put_all(&keys, &values).unwrap();
            entries.extend(keys.into_iter().zip(values));
            table.table().delete(&growth).unwrap();
            entries.remove(&growth);
            assert_eq!(held(table.table()), entries);
            assert_eq!(held(Table::open(&path).unwrap().table()), entries, "another process");
        }
    });
}

/// What version 2 of the layout had: frontends and names as hashes of one size, everything else as it is.
fn make_older(pins: &Pins) {
    fn flat<K, V>(maps: &Path, older: &Path, map: &str)
    where
        K: IntoBytes + FromBytes + Immutable,
        V: IntoBytes + FromBytes + Immutable,
    {
        let growing = Growing::<K, V>::open(&maps.join(map)).unwrap();
        let (keys, values): (Vec<K>, Vec<V>) = growing.table().entries().unwrap().into_iter().unzip();
        let hash = Map::create_hash(1 << 18).unwrap();
        if !keys.is_empty() {
            hash.put_all(&keys, &values).unwrap();
        }
        hash.pin(&older.join(map)).unwrap();
        for pin in [map.to_owned(), format!("{map}-table")] {
            std::fs::remove_file(maps.join(pin)).unwrap();
        }
    }
    let root = pins.root().join("v2");
    let (maps, older) = (pins.maps(), root.join("maps"));
    std::fs::create_dir_all(&older).unwrap();
    flat::<FrontendKeyV4, FrontendValue>(&maps, &older, "frontends_v4");
    flat::<FrontendKeyV6, FrontendValue>(&maps, &older, "frontends_v6");
    flat::<u32, ServiceNameValue>(&maps, &older, "names");
    for pin in std::fs::read_dir(&maps).unwrap().map(Result::unwrap) {
        std::fs::rename(pin.path(), older.join(pin.file_name())).unwrap();
    }
    std::fs::rename(pins.links(), root.join("links")).unwrap();
    std::fs::remove_dir_all(pins.maps().parent().unwrap()).unwrap();
}

/// I2, I5: with its ids and its flows, and with the links, in which `attach` exchanges the programs.
#[test]
fn what_the_layout_before_this_one_held_is_taken_over_wherever_the_upgrade_was_cut_short() {
    with_bpffs("growth-upgrade", || {
        let pins = Pins::new(Path::new(BPFFS));
        drop(load());
        let (mut index, mut desired) = (Index::new("node"), Desired::default());
        cluster::lists(3_000, 1).into_iter().for_each(|event| index.apply(event));
        let changed = index.take_changed();
        desired.update(&index, &changed);
        let mut dataplane = BpfDataplane::new(read(), Limits::default(), KernelMaps::open(Path::new(BPFFS)).unwrap());
        assert!(dataplane.apply(&plan_all(&desired, &dataplane)).pending.is_empty());
        let ids = |image: &Image| image.keys().iter().map(|key| (key.clone(), image.id(key))).collect::<Vec<_>>();
        let before = ids(dataplane.image());
        drop(dataplane);
        let flow = (FlowKeyV4::new_zeroed(), FlowValue::new_zeroed());
        let flows = || Map::<FlowKeyV4, FlowValue>::open(&pins.maps().join("flows_v4")).unwrap();
        flows().put(&flow.0, &flow.1).unwrap();
        Map::<u32, u32>::create_hash(1).unwrap().pin(&pins.links().join("connect4")).unwrap();

        make_older(&pins);
        // Cut short once some pins had moved: a hash that was copied has lost its pin, one that was not has it.
        std::fs::create_dir_all(pins.maps()).unwrap();
        std::fs::rename(pins.root().join("v2/maps/slots"), pins.maps().join("slots")).unwrap();
        Growing::<FrontendKeyV4, FrontendValue>::create_pinned("frontends_v4", &pins.maps().join("frontends_v4"))
            .unwrap();

        drop(load());
        let image = read();
        assert_eq!(ids(&image), before, "I5");
        assert!(plan_all(&desired, &image).is_empty(), "I2");
        assert_eq!(flows().entries().unwrap().len(), 1);
        assert!(pins.links().join("connect4").exists());
        assert!(!pins.root().join("v2").exists());
    });
}

fn load() -> Programs {
    Loader::new(Path::new(BPFFS), Limits::default(), 1 << 12, SocketLb::Off).load().unwrap()
}

fn read() -> Image {
    let (image, strays) = read_back(Path::new(BPFFS)).unwrap();
    assert_eq!(strays, vec![]);
    image
}

/// I2, I5: at each size the next process finds what this one has written, and the room it has written it to.
#[test]
fn an_agent_that_starts_again_at_any_size_writes_nothing() {
    with_bpffs("growth-restart", || {
        let mut programs = load();
        let (mut index, mut desired) = (Index::new("node"), Desired::default());
        let rooms = |image: &Image| (image.room(Hash::Frontends(Family::V4)), image.room(Hash::Names));
        for (services, room) in [(100, 1 << 12), (3_000, 1 << 14), (10_000, 1 << 16), (50, 1 << 16)] {
            cluster::lists(services, 1).into_iter().for_each(|event| index.apply(event));
            let changed = index.take_changed();
            desired.update(&index, &changed);
            let mut dataplane =
                BpfDataplane::new(read(), Limits::default(), KernelMaps::open(Path::new(BPFFS)).unwrap());
            let applied = dataplane.apply(&plan_all(&desired, &dataplane));
            assert!(applied.pending.is_empty(), "{services}: {:?} {:?}", applied.refused, applied.failed);
            assert_eq!(rooms(dataplane.image()).0, room, "{services} Services: frontends and addresses");

            drop((dataplane, programs));
            programs = load();
            let image = read();
            assert_eq!(rooms(&image).0, room, "{services}");
            assert_eq!(image.keys().len(), services as usize);
            let mut again = BpfDataplane::new(image, Limits::default(), KernelMaps::open(Path::new(BPFFS)).unwrap());
            let applied = again.apply(&plan_all(&desired, &again));
            assert_eq!(applied.writes, Writes::default(), "{services}");
        }
        let maps = Pins::new(Path::new(BPFFS)).maps();
        let names = Growing::<u32, ServiceNameValue>::open(&maps.join("names")).unwrap();
        assert_eq!(names.table().entries().unwrap().len(), 50);
    });
}
