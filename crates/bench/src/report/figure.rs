//! Numbers as people read them.
use crate::growth::Growth;
use crate::record::Unit;
use crate::stats::Ratio;

/// Three significant digits and a unit: `21.4 µs`, `1.20 s`, `87.1 MB`, `320,010`; of a difference, also `−1.41 µs`.
pub(crate) fn value(value: f64, unit: Unit) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}", magnitude(value.abs(), unit))
}

fn magnitude(value: f64, unit: Unit) -> String {
    let rounded = significant(value);
    let (divisor, name) = scale(rounded, unit);
    let number = rounded / divisor;
    let is_count = unit == Unit::Count && divisor == 1.0;
    let digits = match number {
        _ if is_count && value.fract() == 0.0 => return join(&grouped(value), name),
        number if number >= 100.0 || number == 0.0 => 0,
        number if number >= 10.0 => 1,
        _ => 2,
    };
    join(&grouped_to(number, digits), name)
}

/// The shortest text of a round value: `10 µs`, `1 s`, `2 MB`, `10k`.
pub(crate) fn tick(value: f64, unit: Unit) -> String {
    let (divisor, name) = scale(value, unit);
    let number = value / divisor;
    let digits = if number >= 1.0 || number == 0.0 {
        0
    } else if number >= 0.1 {
        1
    } else {
        2
    };
    let text = format!("{number:.digits$}");
    match unit {
        Unit::Count => short(value),
        Unit::PerSecond => short(value) + name,
        Unit::Nanoseconds | Unit::Bytes => join(&text, name),
    }
}

/// `10`, `100`, `1k`, `10k`, `100k`, `1M`.
pub(crate) fn short(number: f64) -> String {
    let (divisor, name) = match number {
        number if number >= 1e6 => (1e6, "M"),
        number if number >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = number / divisor;
    if scaled.fract() == 0.0 { format!("{scaled:.0}{name}") } else { format!("{scaled:.1}{name}") }
}

/// `100,000`.
pub(crate) fn size(size: u32) -> String {
    grouped(f64::from(size))
}

/// `195×`, `1.3×`, `0.041×`: two digits, or all before the point.
pub(crate) fn factor(factor: f64) -> String {
    let digits = (0..12usize).find(|digits| factor * 10f64.powf(*digits as f64) >= 9.95).unwrap_or(0);
    format!("{}×", grouped_to(significant(factor), digits))
}

/// How long something had run when it was cut off: `60 s`.
pub(crate) fn limit(after_s: f64) -> String {
    let text = value(after_s * 1e9, Unit::Nanoseconds);
    text.replace(".00 ", " ").replace(".0 ", " ")
}

/// `1.3× (1.2–1.5)`, and only the factor when there are too few rounds for an interval.
pub(crate) fn ratio(ratio: Ratio) -> String {
    let bounds = ratio.interval.map(|(low, high)| format!(" ({}–{})", factor(low).trim_end_matches('×'), factor(high)));
    format!("{}{}", factor(ratio.value), bounds.unwrap_or_default())
}

/// `N^0.98 (0.91–1.05)`, and only the exponent when there are too few sizes for an interval.
pub(crate) fn exponent(growth: &Growth) -> String {
    let bounds = growth.interval.map(|(low, high)| format!(" ({} to {})", hundredths(low), hundredths(high)));
    format!("N^{}{}", hundredths(growth.exponent), bounds.unwrap_or_default())
}

/// Two digits after the point, and no negative zero.
pub(crate) fn hundredths(number: f64) -> String {
    let text = format!("{number:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

fn significant(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

fn scale(value: f64, unit: Unit) -> (f64, &'static str) {
    let steps: &[(f64, &str)] = match unit {
        Unit::Nanoseconds => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        Unit::Bytes => &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
        Unit::Count => &[(1e6, "million"), (1.0, "")],
        Unit::PerSecond => &[(1.0, "/s")],
    };
    let last = steps[steps.len() - 1];
    steps.iter().copied().find(|(divisor, _)| value >= *divisor).unwrap_or(last)
}

fn join(number: &str, unit: &str) -> String {
    match unit {
        "" | "/s" => format!("{number}{unit}"),
        unit => format!("{number} {unit}"),
    }
}

fn grouped(number: f64) -> String {
    grouped_to(number, 0)
}

fn grouped_to(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + part
}

#[cfg(test)]
mod tests {
    use super::*;
    use Unit::{Bytes, Count, Nanoseconds, PerSecond};

    #[test]
    fn values_have_three_digits_and_a_unit_of_their_size() {
        for (given, unit, want) in [
            (0.42, Nanoseconds, "0.42 ns"),
            (21_400.0, Nanoseconds, "21.4 µs"),
            (999_600.0, Nanoseconds, "1.00 ms"),
            (1.2e9, Nanoseconds, "1.20 s"),
            (3.6e12, Nanoseconds, "3,600 s"),
            (0.0, Nanoseconds, "0 ns"),
            (87_100_000.0, Bytes, "87.1 MB"),
            (320_010.0, Count, "320,010"),
            (3.5, Count, "3.50"),
            (1_234_567.0, Count, "1.23 million"),
            (12_345.6, PerSecond, "12,300/s"),
            (-1_410.0, Nanoseconds, "−1.41 µs"),
            (-173.0, Nanoseconds, "−173 ns"),
        ] {
            assert_eq!(value(given, unit), want);
        }
    }

    #[test]
    fn ticks_are_short() {
        for (given, unit, want) in [
            (1e3, Nanoseconds, "1 µs"),
            (5e8, Nanoseconds, "500 ms"),
            (1e10, Nanoseconds, "10 s"),
            (0.5, Nanoseconds, "0.5 ns"),
            (2e6, Bytes, "2 MB"),
            (1e4, Count, "10k"),
            (2e6, Count, "2M"),
            (1e5, PerSecond, "100k/s"),
        ] {
            assert_eq!(tick(given, unit), want);
        }
        assert_eq!([10.0, 100.0, 1e3, 1e4, 1e5, 1e6].map(short), ["10", "100", "1k", "10k", "100k", "1M"]);
    }

    #[test]
    fn factors_and_exponents_show_what_matters() {
        assert_eq!(
            [195.4, 9.96, 1.26, 0.999, 0.041, 0.000_46, 0.0, 12_345.0].map(factor),
            ["195×", "10×", "1.3×", "1.0×", "0.041×", "0.00046×", "0×", "12,300×"]
        );
        let some = Ratio { value: 1.26, interval: Some((1.2, 1.51)) };
        assert_eq!(ratio(some), "1.3× (1.2–1.5×)");
        assert_eq!([60.0, 60.04, 1.5, 0.5].map(limit), ["60 s", "60 s", "1.50 s", "500 ms"]);
        assert_eq!(hundredths(-0.004), "0.00");
    }
}
