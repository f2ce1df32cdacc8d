//! What is measured is what runs: whose a destination is, is told by the same machine code in both objects, and an agent's object
//! holds nothing but the entrances. The measured `pick` is the entrances' for the Cluster set and no client: 64 decisions with
//! affinity are more than the verifier follows.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use std::collections::BTreeSet;

static ENTRANCES: &[u8] = include_bytes!("../object/sheave.o");
static BENCH: &[u8] = include_bytes!("../object/bench_select.o");

/// `BPF_JMP | BPF_CALL`, and `BPF_PSEUDO_CALL` as its source register (`include/uapi/linux/bpf.h`).
const CALL: u8 = 0x85;
const OF_A_FUNCTION: u8 = 1;

static ENTRANCE_PROGRAMS: &[&str] = &[
    "connect4",
    "connect6",
    "egress",
    "egress_l3",
    "getpeername4",
    "getpeername6",
    "ingress",
    "ingress_l3",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "sock_release",
];

/// A function's instructions, and what its relocations name, by offset.
#[derive(PartialEq, Eq, Debug)]
struct Code {
    instructions: Vec<u8>,
    relocations: Vec<(u64, String)>,
}

/// The one function whose name holds `name`.
fn code(object: &[u8], name: &str) -> Code {
    let file = object::File::parse(object).unwrap();
    let found: Vec<_> = file.symbols().filter(|symbol| symbol.name().unwrap().contains(name)).collect();
    let [symbol] = &found[..] else { panic!("{} symbols hold {name}", found.len()) };
    let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
    let (start, end) = (symbol.address(), symbol.address() + symbol.size());
    let relocations = section.relocations().filter(|(at, _)| (start..end).contains(at));
    let named = relocations.map(|(at, relocation)| {
        let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("{name}: {relocation:?}") };
        (at - start, file.symbol_by_index(symbol).unwrap().name().unwrap().to_owned())
    });
    let mut instructions = section.data_range(start, end - start).unwrap().unwrap().to_vec();
    for instruction in instructions.chunks_exact_mut(8).filter(|i| i[0] == CALL && i[1] >> 4 == OF_A_FUNCTION) {
        // How far away the function lies that is called: no part of what this one does.
        instruction[4..].fill(0);
    }
    Code { relocations: named.collect(), instructions }
}

/// The programs of an object: functions outside `.text`.
fn programs(object: &[u8]) -> BTreeSet<String> {
    let file = object::File::parse(object).unwrap();
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let outside = functions
        .filter(|symbol| file.section_by_index(symbol.section_index().unwrap()).unwrap().name().unwrap() != ".text");
    outside.map(|symbol| symbol.name().unwrap().to_owned()).collect()
}

#[test]
fn the_lookup_that_is_measured_is_the_entrances_own_instruction_by_instruction() {
    for family in ["V4", "V6"] {
        // Rust's v0 mangling of `select::look_up::<family::V4>`, after the name of the crate.
        let name = format!("6select7look_upNtNtB4_6family2{family}E");
        let (entrances, bench) = (code(ENTRANCES, &name), code(BENCH, &name));
        let (size, named) = (entrances.instructions.len(), &entrances.relocations);
        assert!(size > 1000, "{family}: {size} bytes");
        assert!(named.iter().any(|(_, map)| map.starts_with("node_addrs_v")), "{family}: {named:?}");
        assert!(entrances == bench, "{family}");
    }
}

#[test]
fn an_agents_object_holds_the_entrances_and_no_program_that_measures() {
    for (object, want) in [(ENTRANCES, ENTRANCE_PROGRAMS), (BENCH, &["decide_v4", "decide_v6", "draw_v4", "draw_v6"])] {
        assert_eq!(programs(object), want.iter().map(|name| (*name).to_owned()).collect());
    }
}
