//! The links as last told, so that only differences are told again.
use crate::link::{Link, LinkIndex};
use std::collections::BTreeMap;

/// What happened to a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkChange {
    /// It is there; also for those that were there at the start.
    Added(Link),
    /// Its name, its kind, its upper device or its address is another; the link as it is now.
    Changed(Link),
    /// It is gone; the link as it was.
    Removed(Link),
    /// Everything that was there has been told: once after the start, and again after messages were lost.
    Settled,
}

/// The links as last told.
#[derive(Default)]
pub(crate) struct LinkTable {
    links: BTreeMap<LinkIndex, Entry>,
    listing: u64,
}

struct Entry {
    link: Link,
    seen_in: u64,
}

impl LinkTable {
    /// A full listing begins: what it does not show is gone at its end.
    pub(crate) fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// A link as it is now; `None` if it has been told.
    pub(crate) fn put(&mut self, link: Link) -> Option<LinkChange> {
        let entry = Entry { link: link.clone(), seen_in: self.listing };
        match self.links.insert(link.index, entry) {
            None => Some(LinkChange::Added(link)),
            Some(before) if before.link != link => Some(LinkChange::Changed(link)),
            Some(_) => None,
        }
    }

    /// A link is gone; `None` if it was never told.
    pub(crate) fn remove(&mut self, index: LinkIndex) -> Option<LinkChange> {
        self.links.remove(&index).map(|entry| LinkChange::Removed(entry.link))
    }

    /// The listing is complete.
    pub(crate) fn end_listing(&mut self) -> Vec<LinkChange> {
        let listing = self.listing;
        let unseen = self.links.extract_if(.., |_, entry| entry.seen_in != listing);
        let removed = unseen.map(|(_, entry)| LinkChange::Removed(entry.link));
        removed.collect::<Vec<_>>().into_iter().chain([LinkChange::Settled]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Layer, LinkKind, Upper};

    fn link(index: u32, name: &str) -> Link {
        Link {
            index: LinkIndex::new(index),
            name: name.to_owned(),
            kind: LinkKind::Veth,
            upper: Upper::None,
            layer: Layer::Ethernet,
            mac: None,
            xdp_program: None,
            peer_netns: None,
        }
    }

    #[test]
    fn a_link_is_told_once_until_something_about_it_changes() {
        let mut table = LinkTable::default();
        assert_eq!(table.put(link(2, "a")), Some(LinkChange::Added(link(2, "a"))));
        assert_eq!(table.put(link(2, "a")), None, "the kernel repeats itself, for statistics and flags");
        assert_eq!(table.put(link(2, "b")), Some(LinkChange::Changed(link(2, "b"))));
        assert_eq!(table.remove(LinkIndex::new(2)), Some(LinkChange::Removed(link(2, "b"))));
        assert_eq!(table.remove(LinkIndex::new(2)), None);
    }

    #[test]
    fn a_listing_removes_what_it_does_not_show_and_keeps_what_came_meanwhile() {
        let mut table = LinkTable::default();
        table.begin_listing();
        for (index, name) in [(1, "lo"), (2, "old")] {
            table.put(link(index, name));
        }
        assert_eq!(table.end_listing(), [LinkChange::Settled]);
        table.begin_listing();
        table.put(link(3, "came meanwhile"));
        table.put(link(1, "lo"));
        assert_eq!(table.end_listing(), [LinkChange::Removed(link(2, "old")), LinkChange::Settled]);
    }
}
