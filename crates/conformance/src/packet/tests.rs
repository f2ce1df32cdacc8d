use super::*;

fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse().unwrap(), port)
}

fn pairs() -> [(SocketAddr, SocketAddr); 2] {
    [(at("10.1.0.2", 40000), at("10.96.0.10", 80)), (at("fd00:1::2", 40000), at("fd00:96::10", 80))]
}

/// A packet of each kind that has whatever can be had.
fn frames() -> Vec<(&'static str, Frame)> {
    let mut frames = Vec::new();
    for (source, destination) in pairs() {
        let syn = Frame::tcp(source, destination, Flags::SYN);
        let with = |edit: fn(&mut Frame)| {
            let mut frame = syn.clone();
            edit(&mut frame);
            frame
        };
        frames.push(("tcp", syn.clone()));
        frames.push((
            "tcp with data and options",
            with(|frame| {
                let Body::Tcp(tcp) = &mut frame.body else { unreachable!() };
                (tcp.options, tcp.payload) = (vec![2, 4, 5, 0xb4], b"odd".to_vec());
                (tcp.sequence, tcp.acknowledgment, tcp.flags) = (7, 9, Flags::ACK | Flags::PSH);
            }),
        ));
        frames.push(("udp", Frame::udp(source, destination, b"question")));
        frames.push(("echo", Frame::new(source.ip(), destination.ip(), Body::echo(source.ip(), 7))));
        frames.push(("error", Frame::error(destination.ip(), &syn, (3, 4), [0, 0, 5, 0xdc], 48)));
        frames.push((
            "vlan",
            with(|frame| {
                frame.link = Link::Ethernet { destination: [1; 6], source: [2; 6], vlan: Some(42) };
            }),
        ));
        frames.push(("no link header", with(|frame| frame.link = Link::None)));
        frames.push(("sctp", with(|frame| frame.body = Body::init(40000, 80, 7))));
        frames.push((
            "sctp, wrong checksum",
            with(|frame| {
                frame.body = Body::init(40000, 80, 7);
                frame.checksum = Checksum::CrcOff(0x1234_5678);
            }),
        ));
        frames.push(("another protocol", with(|frame| frame.body = Body::Rest { protocol: 47, payload: vec![1; 20] })));
        frames.push(("wrong checksum", with(|frame| frame.checksum = Checksum::Off(0x1234))));
        let options = |frame: &Frame| match frame.source {
            IpAddr::V4(_) => Frame { options: vec![1, 1, 1, 0], ..frame.clone() },
            IpAddr::V6(_) => {
                let extension = |kind, len| Extension { kind, content: vec![0; len] };
                Frame { extensions: vec![extension(0, 6), extension(60, 14)], ..frame.clone() }
            }
        };
        frames.push(("options or extension headers", options(&syn)));
        frames
            .extend(Frame::udp(source, destination, &[3; 50]).fragments(99, 24).into_iter().map(|part| ("part", part)));
    }
    let (source, destination) = pairs()[0];
    let absent = Frame { checksum: Checksum::Absent, ..Frame::udp(source, destination, b"question") };
    frames.push(("udp without a checksum", absent));
    frames
}

#[test]
fn what_is_built_is_read_as_it_was() {
    for (name, frame) in frames() {
        let bytes = frame.bytes();
        let read = if frame.link == Link::None { Frame::read_ip(&bytes) } else { Frame::read(&bytes) };
        assert_eq!(read.as_ref(), Ok(&frame), "case: {name}");
    }
}

#[test]
fn checksums_are_those_of_rfc_1071() {
    // The example of RFC 1071 §3: 0001 f203 f4f5 f6f7 sums up to ddf2.
    let body = Body::Icmp { kind: 0, code: 1, word: [0xf2, 0x03, 0xf4, 0xf5], payload: vec![0xf6, 0xf7] };
    let any: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(body.checksum(any, any), !0xddf2);
}

#[test]
fn what_is_damaged_is_named() {
    let (source, destination) = pairs()[0];
    let whole = Frame::udp(source, destination, b"question");
    let damaged = |at: usize| {
        let mut bytes = whole.bytes();
        bytes[at] ^= 1;
        Frame::read(&bytes)
    };
    assert_eq!(damaged(13), Err(Malformed::NotIp(0x0801)));
    assert!(matches!(damaged(14 + 8), Err(Malformed::HeaderChecksum { .. })), "time to live");
    assert!(matches!(damaged(14 + 20 + 5), Err(Malformed::Length { header: "UDP header", says: 17, are: 16 })));
    let last = whole.bytes().len() - 1;
    assert!(!damaged(last).unwrap().is_intact(), "data");
    assert!(matches!(Frame::read(&whole.bytes()[..last]), Err(Malformed::Length { header: "IP header", .. })));
    assert!(matches!(Frame::read(&[0; 13]), Err(Malformed::Header { header: "Ethernet header", .. })));
}

#[test]
fn a_packet_inside_of_an_error_is_read_as_far_as_it_goes() {
    for (source, destination) in pairs() {
        let about = Frame::udp(source, destination, b"question");
        let len = about.ip_bytes().len();
        for cut in [len, len - 8] {
            let error = Frame::error(destination.ip(), &about, (3, 3), [0; 4], cut);
            let Body::Icmp { payload, .. } = &Frame::read(&error.bytes()).unwrap().body else { unreachable!() };
            let embedded = Embedded::read(payload).unwrap();
            assert_eq!((embedded.source, embedded.destination, embedded.protocol), (source, destination, UDP));
            assert_eq!(embedded.transport.len(), cut - (len - 16));
        }
    }
}
