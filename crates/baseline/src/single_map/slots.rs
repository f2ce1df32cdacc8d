//! Which backend sits in which slot: dense, and as few move as can be.
use sheave_core::Backend;
use std::collections::BTreeSet;

/// The slots of one Service port.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Vec<Backend>);

impl Slots {
    pub(super) fn backends(&self) -> &[Backend] {
        &self.0
    }

    /// Holds these backends from now on. New ones take the slots of those that go; what is left of the gaps is filled from
    /// the end.
    pub(super) fn update(&mut self, backends: &[Backend]) {
        let wanted: BTreeSet<Backend> = backends.iter().copied().collect();
        let held: BTreeSet<Backend> = self.0.iter().copied().collect();
        let mut new = wanted.difference(&held).copied();
        let mut at = 0;
        while at < self.0.len() {
            if wanted.contains(&self.0[at]) {
                at += 1;
            } else if let Some(backend) = new.next() {
                self.0[at] = backend;
                at += 1;
            } else {
                self.0.swap_remove(at);
            }
        }
        self.0.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::Port;

    #[test]
    fn few_backends_move() {
        let backend =
            |last: u8| Backend { addr: [10, 0, 0, last].into(), port: Port::new(80).expect("a port is not 0") };
        for (case, before, wanted, after) in [
            ("the first ones", &[][..], &[1, 2, 3][..], &[1, 2, 3][..]),
            ("the last fills the gap", &[1, 2, 3, 4], &[2, 3, 4], &[4, 2, 3]),
            ("a new one takes the gap", &[1, 2, 3], &[2, 3, 9], &[9, 2, 3]),
            ("a new one takes the end", &[1, 2], &[0, 1, 2], &[1, 2, 0]),
            ("the last one goes", &[1, 2, 3], &[1, 2], &[1, 2]),
            ("several go from the end", &[1, 2, 3, 4], &[2], &[2]),
            ("all go", &[1, 2], &[], &[]),
        ] {
            let mut slots = Slots(before.iter().map(|last| backend(*last)).collect());
            slots.update(&wanted.iter().map(|last| backend(*last)).collect::<Vec<_>>());
            assert_eq!(slots.backends(), after.iter().map(|last| backend(*last)).collect::<Vec<_>>(), "{case}");
        }
    }
}
