//! What is measured is what runs: `select` is the same machine code in both objects, and an agent's object holds nothing but the
//! entrances.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use std::collections::BTreeSet;

static ENTRANCES: &[u8] = include_bytes!("../object/sheave.o");
static BENCH: &[u8] = include_bytes!("../object/bench_select.o");

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
    Code {
        relocations: named.collect(),
        instructions: section.data_range(start, end - start).unwrap().unwrap().to_vec(),
    }
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
fn the_select_that_is_measured_is_the_entrances_own_instruction_by_instruction() {
    for family in ["V4", "V6"] {
        // Rust's v0 mangling of `select::select::<family::V4>`, after the name of the crate.
        let name = format!("6select6selectNtNtB4_6family2{family}E");
        let (entrances, bench) = (code(ENTRANCES, &name), code(BENCH, &name));
        assert!(entrances.instructions.len() > 1000, "{family}: {} bytes", entrances.instructions.len());
        assert!(entrances.relocations.iter().any(|(_, map)| map == "slots"), "{family}: {:?}", entrances.relocations);
        assert_eq!(entrances, bench, "{family}");
    }
}

#[test]
fn an_agents_object_holds_the_entrances_and_no_program_that_measures() {
    for (object, want) in [
        (ENTRANCES, ["connect4", "connect6", "egress", "getpeername4", "getpeername6", "ingress"].as_slice()),
        (BENCH, ["decide_v4", "decide_v6", "draw_v4", "draw_v6"].as_slice()),
    ] {
        assert_eq!(programs(object), want.iter().map(|name| (*name).to_owned()).collect());
    }
}
