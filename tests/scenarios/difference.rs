//! How two texts differ.

/// The lines of `want` that are not in `got` with `-`, those only in `got` with `+`, and what surrounds them.
pub(crate) fn difference(want: &str, got: &str) -> String {
    let (want, got): (Vec<_>, Vec<_>) = (want.lines().collect(), got.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let before = same(&mut want.iter().zip(&got));
    let after = same(&mut want[before..].iter().rev().zip(got[before..].iter().rev()));
    let mut lines: Vec<String> = want[..before].iter().map(|line| format!("      {line}")).collect();
    lines.extend(want[before..want.len() - after].iter().map(|line| format!("    - {line}")));
    lines.extend(got[before..got.len() - after].iter().map(|line| format!("    + {line}")));
    lines.extend(want[want.len() - after..].iter().map(|line| format!("      {line}")));
    lines.join("\n")
}
