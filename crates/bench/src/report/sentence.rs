//! The one sentence that sums a run up.
use super::comparison::{Axis, Machine, Panel, Spot};
use super::figure;
use crate::record::{ConnectOperation, Dataplane, SyncOperation, Work};

/// The cluster that the sentence is about, or the nearest smaller one that was measured.
const SERVICES: u32 = 10_000;

/// Families that the sentence names. Of each the fastest variant speaks: a peer is not shown at its worst.
const FAMILIES: &[(&str, &[Dataplane])] = &[
    (
        "iptables",
        &[
            Dataplane::IptablesLegacy,
            Dataplane::IptablesLegacyPartial,
            Dataplane::IptablesNft,
            Dataplane::IptablesNftPartial,
        ],
    ),
    ("nftables", &[Dataplane::Nftables]),
    ("sheave", &[Dataplane::SheaveEbpf, Dataplane::SheaveIpvs]),
];

/// `On this kernel at 10,000 Services one endpoint change costs 1.20 s (iptables: …), … (nftables), … (sheave); a new
/// connection …`; `None` when neither was measured.
pub(crate) fn sentence(machine: &Machine) -> Option<String> {
    let change = first(machine, &[Work::Sync(SyncOperation::EndpointChanged)]);
    let connections = [ConnectOperation::LatencyRandom, ConnectOperation::LatencyHot].map(Work::Connect);
    let connection = first(machine, &connections);
    let (at, change, connection) = match (change, connection) {
        (Some((at, change)), Some((also, connection))) if at == also => (at, Some(change), Some(connection)),
        // Two sizes would make two sentences; the change is what most ask for.
        (Some((at, change)), _) => (at, Some(change), None),
        (None, Some((at, connection))) => (at, None, Some(connection)),
        (None, None) => return None,
    };
    let parts = [("one endpoint change costs", change), ("a new connection takes", connection)];
    let parts: Vec<_> =
        parts.iter().filter_map(|(words, figures)| Some(format!("{words} {}", figures.as_ref()?))).collect();
    Some(format!("On this kernel at {} Services {}.", figure::size(at), parts.join("; ")))
}

/// The size and the figures of the first of the works that has any.
fn first(machine: &Machine, works: &[Work]) -> Option<(u32, String)> {
    works.iter().find_map(|work| {
        let panel = machine.panels(*work).into_iter().find(|panel| matches!(panel.axis, Axis::Services { .. }))?;
        let own = panel.line(machine.reference())?;
        let measured = panel.sizes.iter().zip(&own.spots).filter(|(_, spot)| spot.summary().is_some());
        let at = *measured.map(|(size, _)| size).rfind(|size| **size <= SERVICES)?;
        Some((at, families(&panel, at)))
    })
}

fn families(panel: &Panel, size: u32) -> String {
    let figures = FAMILIES.iter().filter_map(|(family, variants)| {
        let fastest = fastest(panel, variants, size)?;
        let name = fastest.dataplane.name();
        let named = if name == *family || *family == "sheave" { (*family).to_owned() } else { name.to_owned() };
        Some(format!("{} ({named})", fastest.text))
    });
    figures.collect::<Vec<_>>().join(", ")
}

struct Fastest {
    dataplane: Dataplane,
    text: String,
}

/// The variant with the least median; of variants that were all cut off, how long the first of them had run.
fn fastest(panel: &Panel, variants: &[Dataplane], size: u32) -> Option<Fastest> {
    let at = panel.sizes.iter().position(|known| *known == size)?;
    let spots =
        || panel.lines.iter().filter(|line| variants.contains(&line.dataplane)).map(|line| (line, &line.spots[at]));
    let measured = spots().filter_map(|(line, spot)| Some((line.dataplane, spot.summary()?.median)));
    if let Some((dataplane, median)) = measured.min_by(|a, b| a.1.total_cmp(&b.1)) {
        return Some(Fastest { dataplane, text: figure::value(median, panel.measure.unit()) });
    }
    spots().find_map(|(line, spot)| {
        let text = match spot {
            Spot::AtLeast { after_s } => format!("more than {}", figure::limit(*after_s)),
            Spot::CutOff { after_s } => format!("cut off after {}", figure::limit(*after_s)),
            Spot::Measured { .. } | Spot::Nothing => return None,
        };
        Some(Fastest { dataplane: line.dataplane, text })
    })
}
