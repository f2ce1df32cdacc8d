//! The colours of dataplanes can be told apart, by those too who do not see all of them.
use std::collections::BTreeMap;

const COLOURS: &str = include_str!("../../src/report/colours.css");

/// Dichromatic vision, on linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1.0).
const VISIONS: [(&str, [[f64; 3]; 3]); 4] = [
    ("normal", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    ("protanopia", [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    ("deuteranopia", [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    ("tritanopia", [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
];

/// Distance in CIE 1976 L*a*b*; 2 is just to be seen side by side, lines need far more.
const DISTANCE_MIN: f64 = 18.0;
/// What WCAG 2.2 asks of graphics against their background (1.4.11).
const CONTRAST_MIN: f64 = 3.0;

type Rgb = [f64; 3];

/// The variables of the light scheme and of the dark one.
fn schemes() -> [BTreeMap<&'static str, Rgb>; 2] {
    let (light, dark) = COLOURS.split_once("@media").expect("a dark scheme");
    [light, dark].map(|css| {
        let variables = css.split([';', '{', '}']).filter_map(|part| part.trim().strip_prefix("--")?.split_once(": #"));
        variables.map(|(name, hex)| (name, rgb(hex))).collect()
    })
}

fn rgb(hex: &str) -> Rgb {
    [0, 2, 4].map(|at| {
        let part = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits")) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    })
}

fn product(matrix: &[[f64; 3]; 3], vector: Rgb) -> Rgb {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

fn lab(rgb: Rgb) -> Rgb {
    let xyz = product(
        &[[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
        rgb.map(|part| part.clamp(0.0, 1.0)),
    );
    let white = [0.95047, 1.0, 1.08883];
    let curve = |part: f64| if part > 0.008856 { part.cbrt() } else { 7.787 * part + 16.0 / 116.0 };
    let [x, y, z] = [0, 1, 2].map(|at| curve(xyz[at] / white[at]));
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

fn luminance([red, green, blue]: Rgb) -> f64 {
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[test]
fn every_two_colours_differ_in_every_kind_of_vision() {
    for (scheme, colours) in ["light", "dark"].iter().zip(schemes()) {
        let colours: Vec<_> = colours.into_iter().filter(|(name, _)| name.starts_with("c-")).collect();
        assert_eq!(colours.len(), 6, "{scheme}");
        for (vision, matrix) in &VISIONS {
            for (index, (one, a)) in colours.iter().enumerate() {
                for (other, b) in &colours[index + 1..] {
                    let (a, b) = (lab(product(matrix, *a)), lab(product(matrix, *b)));
                    let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(distance >= DISTANCE_MIN, "{scheme}, {vision}: {one} and {other} are {distance:.0} apart");
                }
            }
        }
    }
}

#[test]
fn every_colour_stands_out_from_its_background() {
    for (scheme, colours) in ["light", "dark"].iter().zip(schemes()) {
        let card = luminance(colours["card"]);
        for (name, colour) in colours.iter().filter(|(name, _)| name.starts_with("c-")) {
            let (low, high) = (luminance(*colour).min(card), luminance(*colour).max(card));
            let contrast = (high + 0.05) / (low + 0.05);
            assert!(contrast >= CONTRAST_MIN, "{scheme}: {name} has a contrast of {contrast:.1}");
        }
    }
}
