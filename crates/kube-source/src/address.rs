//! Sloppy addresses, parsed once, here (W11).
//!
//! Kubernetes keeps accepting what Go's parser took before 1.17: `172.30.0.041` is 172.30.0.41, decimal, not octal. The
//! standard library refuses leading zeros (they are octal in C), so objects of old clusters need a parser of their own.
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text is no address, or none that can carry Service traffic.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAddress {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("{0:?} is not an IP address")]
    NotAnAddress(String),
    /// Not `ADDRESS/PREFIX`.
    #[error("{0:?} is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16")]
    NotACidr(String),
    /// An address that never leaves a host, or names a group.
    #[error("{0} cannot carry Service traffic: it is {1}")]
    NotUnicast(IpAddr, &'static str),
}

/// Reads an address as Kubernetes does: leading zeros are decimal, and an IPv4-mapped IPv6 address is the IPv4 address.
///
/// # Errors
/// [`BadAddress::NotAnAddress`] names the text.
pub fn parse_ip(text: &str) -> Result<IpAddr, BadAddress> {
    let addr = parse_v4(text).map(IpAddr::V4).or_else(|| parse_v6(text).map(IpAddr::V6));
    addr.map(|addr| addr.to_canonical()).ok_or_else(|| BadAddress::NotAnAddress(text.to_owned()))
}

/// Reads an address that packets can be sent to from elsewhere: what a VIP has to be.
///
/// # Errors
/// [`BadAddress`] names the text or the address.
pub fn parse_unicast(text: &str) -> Result<IpAddr, BadAddress> {
    let addr = parse_ip(text)?;
    let why = match addr {
        addr if addr.is_unspecified() => "unspecified",
        addr if addr.is_loopback() => "a loopback address",
        addr if addr.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        _ => return Ok(addr),
    };
    Err(BadAddress::NotUnicast(addr, why))
}

/// Reads an endpoint's address: unicast and routable, the check the API server makes on EndpointSlices.
///
/// # Errors
/// [`BadAddress`] names the text or the address.
pub fn parse_endpoint(text: &str) -> Result<IpAddr, BadAddress> {
    let addr = parse_unicast(text)?;
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local { Err(BadAddress::NotUnicast(addr, "a link-local address")) } else { Ok(addr) }
}

/// Reads a CIDR; host bits are dropped, as Go's parser drops them.
///
/// # Errors
/// [`BadAddress::NotACidr`] names the text.
pub fn parse_cidr(text: &str) -> Result<IpNet, BadAddress> {
    sloppy_cidr(text).ok_or_else(|| BadAddress::NotACidr(text.to_owned()))
}

fn sloppy_cidr(text: &str) -> Option<IpNet> {
    let (addr, prefix) = text.split_once('/')?;
    let addr = parse_v4(addr).map(IpAddr::V4).or_else(|| parse_v6(addr).map(IpAddr::V6))?;
    let prefix = u8::try_from(decimal(prefix)?).ok()?;
    IpNet::new(addr, prefix).ok().map(|net| net.trunc())
}

fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(decimal(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let Some((head, tail)) = text.split_once("::") else {
        return <[u16; 8]>::try_from(groups(text)?).ok().map(Ipv6Addr::from);
    };
    let (head, tail) = (groups(head)?, groups(tail)?);
    let zeros = 8_usize.checked_sub(head.len() + tail.len()).filter(|zeros| *zeros > 0)?;
    let all = [head, vec![0; zeros], tail].concat();
    <[u16; 8]>::try_from(all).ok().map(Ipv6Addr::from)
}

/// The 16-bit groups of one side of `::`, the last of which may be written as an IPv4 address.
fn groups(text: &str) -> Option<Vec<u16>> {
    let mut groups = Vec::new();
    let mut parts = text.split(':').peekable();
    if text.is_empty() {
        return Some(groups);
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() && part.contains('.') {
            let [a, b, c, d] = parse_v4(part)?.octets();
            groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
        } else {
            groups.push(number(part, 16).and_then(|group| u16::try_from(group).ok())?);
        }
    }
    Some(groups)
}

fn decimal(text: &str) -> Option<u32> {
    number(text, 10)
}

/// Digits only: `from_str_radix` would take a sign. Any number of leading zeros, as Go's old parser allowed.
fn number(text: &str, radix: u32) -> Option<u32> {
    text.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn w11_leading_zeros_are_decimal_also_in_cidrs() {
        for (text, want) in [
            ("172.30.0.041", "172.30.0.41"),
            ("010.000.00.08", "10.0.0.8"),
            ("10.0.0.1", "10.0.0.1"),
            ("fd00:0096::00010", "fd00:96::10"),
            ("::ffff:10.0.0.010", "10.0.0.10"),
            ("64:ff9b::192.0.2.033", "64:ff9b::c000:221"),
            ("::", "::"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ] {
            assert_eq!(parse_ip(text).map(|a| a.to_string()), Ok(want.to_owned()), "{text}");
        }
        for (text, want) in
            [("010.096.0.0/016", "10.96.0.0/16"), ("fd00:96::1/112", "fd00:96::/112"), ("10.0.0.1/0", "0.0.0.0/0")]
        {
            assert_eq!(parse_cidr(text).map(|c| c.to_string()), Ok(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_text() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1.2",
            "10.0.0.+1",
            "10.0.0.1 ",
            "0x0a.0.0.1",
            "1::2::3",
            "fd00:",
            ":1",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::8",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "None",
            "1:10.0.0.1:2::",
        ] {
            assert_eq!(parse_ip(text), Err(BadAddress::NotAnAddress(text.to_owned())), "{text:?}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/-1", "fd00::/129"] {
            assert_eq!(parse_cidr(text), Err(BadAddress::NotACidr(text.to_owned())), "{text:?}");
        }
        for text in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "255.255.255.255", "::1", "fe80::1", "ff02::1"]
        {
            assert!(matches!(parse_endpoint(text), Err(BadAddress::NotUnicast(..))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_reads_back_what_it_prints(v4: [u8; 4], v6: [u16; 8]) {
            let v4 = IpAddr::from(v4);
            let v6 = IpAddr::from(v6);
            prop_assert_eq!(parse_ip(&v4.to_string()), Ok(v4));
            prop_assert_eq!(parse_ip(&v6.to_string()), Ok(v6.to_canonical()));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String, addressy in "[0-9a-f:./]{0,40}") {
            let _ = (parse_ip(&text), parse_cidr(&text), parse_ip(&addressy), parse_cidr(&addressy));
            if let Ok(addr) = addressy.parse::<IpAddr>() {
                prop_assert_eq!(parse_ip(&addressy), Ok(addr.to_canonical()), "what the strict parser takes, ours takes");
            }
        }
    }
}
