//! Netlink attributes: those of a message, or of another attribute.
use rtnetlink::packet_core::NlasIterator;

const NLA_HEADER_LEN: usize = 4;

/// The attributes, each with its kind without flags, up to the first that makes no sense.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let attributes = NlasIterator::new(bytes).map_while(Result::ok);
    attributes.map(|attribute| {
        let (kind, length) = (attribute.kind(), attribute.value_length());
        (kind, attribute.into_inner().get(NLA_HEADER_LEN..NLA_HEADER_LEN + length).unwrap_or_default())
    })
}

/// The attribute of a kind among others.
pub(crate) fn inner(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(inner, _)| *inner == kind).map(|(_, value)| value)
}
