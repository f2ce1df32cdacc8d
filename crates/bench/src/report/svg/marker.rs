//! The form of a dataplane's markers. Together with colour and dashes it tells lines apart for those who do not see the colour.
use crate::record::Dataplane;

/// Half the width of a marker, in pixels.
const RADIUS: f64 = 4.5;

/// A closed path around (x, y).
pub(super) fn outline(dataplane: Dataplane, x: f64, y: f64) -> String {
    match dataplane {
        Dataplane::SheaveEbpf | Dataplane::SheaveEbpfDevice | Dataplane::Direct => circle(x, y, RADIUS),
        Dataplane::SheaveIpvs => polygon(x, y, &[(-1.3, 0.0), (0.0, -1.3), (1.3, 0.0), (0.0, 1.3)]),
        Dataplane::IptablesLegacy | Dataplane::IptablesLegacyPartial => {
            polygon(x, y, &[(-0.95, -0.95), (0.95, -0.95), (0.95, 0.95), (-0.95, 0.95)])
        }
        Dataplane::IptablesNft | Dataplane::IptablesNftPartial => {
            polygon(x, y, &[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)])
        }
        Dataplane::Nftables | Dataplane::NftSingleMap => {
            polygon(x, y, &[(-1.25, 0.0), (0.0, -1.25), (1.25, 0.0), (0.0, 1.25)])
        }
    }
}

/// Variants of one family share colour and form; the second is hollow and dashed.
pub(super) fn is_hollow(dataplane: Dataplane) -> bool {
    matches!(
        dataplane,
        Dataplane::SheaveEbpfDevice
            | Dataplane::IptablesLegacyPartial
            | Dataplane::IptablesNftPartial
            | Dataplane::NftSingleMap
            | Dataplane::Direct
    )
}

fn circle(x: f64, y: f64, radius: f64) -> String {
    let (left, width) = (x - radius, 2.0 * radius);
    format!("M{left:.1} {y:.1}a{radius} {radius} 0 1 0 {width} 0a{radius} {radius} 0 1 0 -{width} 0Z")
}

fn polygon(x: f64, y: f64, corners: &[(f64, f64)]) -> String {
    let corner = |(right, down): &(f64, f64)| format!("{:.1} {:.1}", x + right * RADIUS, y + down * RADIUS);
    format!("M{}Z", corners.iter().map(corner).collect::<Vec<_>>().join("L"))
}
