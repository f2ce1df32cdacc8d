//! Addresses of backends, each once however many ports share it: a pod that is its own backend has to be masqueraded.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// How many slots have each address.
#[derive(Clone, Debug, Default)]
pub(super) struct Hairpins(HashMap<IpAddr, usize>);

/// What a change means for the set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) new: Vec<IpAddr>,
    pub(super) gone: Vec<IpAddr>,
}

impl Hairpins {
    /// Takes away the users of addresses in `before` and adds those in `after`.
    pub(super) fn change(&mut self, before: &[IpAddr], after: &[IpAddr]) -> Difference {
        let touched = before.iter().chain(after).map(|addr| (*addr, self.0.contains_key(addr)));
        let touched: BTreeMap<IpAddr, bool> = touched.collect();
        for addr in after {
            *self.0.entry(*addr).or_default() += 1;
        }
        for addr in before {
            let users = self.0.get_mut(addr).expect("invariant: what goes was counted when it came");
            *users -= 1;
            if *users == 0 {
                self.0.remove(addr);
            }
        }
        let mut difference = Difference::default();
        for (addr, was) in touched {
            match (was, self.0.contains_key(&addr)) {
                (false, true) => difference.new.push(addr),
                (true, false) => difference.gone.push(addr),
                (true, true) | (false, false) => {}
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_there_as_long_as_someone_uses_it() {
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|addr| addr.parse().unwrap());
        let mut hairpins = Hairpins::default();
        for (before, after, new, gone) in [
            (&[][..], &[a, a][..], &[a][..], &[][..]),
            (&[a], &[b], &[b], &[]),
            (&[a], &[], &[], &[a]),
            (&[b], &[b], &[], &[]),
        ] {
            let want = Difference { new: new.to_vec(), gone: gone.to_vec() };
            assert_eq!(hairpins.change(before, after), want, "{before:?} to {after:?}");
        }
    }
}
